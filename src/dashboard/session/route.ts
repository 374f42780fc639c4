import { signal } from '@preact/signals';

export interface Place {
  /** The page. */
  readonly page: string;
  /** What of it, decoded: a repository, a digest, a run. */
  readonly parts: readonly string[];
}

/** Where the person is, by the fragment of the address, so that links and the back button work. */
export class Route {
  readonly place = signal(placeOf(location.hash));

  constructor() {
    addEventListener('hashchange', () => {
      this.place.value = placeOf(location.hash);
    });
  }
}

/** The address of a page: `#/content/docker.io%2Flibrary%2Fnginx`. */
export function linkTo(page: string, ...parts: readonly string[]): string {
  return `#/${[page, ...parts.map((part) => encodeURIComponent(part))].join('/')}`;
}

function placeOf(hash: string): Place {
  const [page = '', ...parts] = hash.replace(/^#?\/?/, '').split('/');
  return { page, parts: parts.map(decode) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

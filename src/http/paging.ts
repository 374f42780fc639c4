import { repositoryKey, type Repository } from '../oci/reference.ts';
import { pageMax, type Page } from './request.ts';

/** One page of a list, and the `last` of the next one; undefined at the end. */
export interface ListPage {
  readonly items: readonly string[];
  readonly next: string | undefined;
}

/** A page of a sorted list. `n=0` is an empty page without a next; `last` need not exist. */
export function pageOfList(all: readonly string[], { n, last }: Page): ListPage {
  const rest = last === undefined ? all : all.filter((item) => item > last);
  const count = n ?? pageMax;
  const items = rest.slice(0, count);
  const next = rest.length > count && count > 0 ? items.at(-1) : undefined;
  return { items, next };
}

/** The path is ours and keeps prefix and `ns`; a link never leads a client past the mirror. */
export function nextLink(path: string, page: Page, last: string, ns: string | undefined): string {
  const query = new URLSearchParams({ n: String(page.n ?? pageMax), last });
  if (ns !== undefined) query.set('ns', ns);
  return `<${path}?${query.toString()}>; rel="next"`;
}

/**
 * A page of the catalog: `registry/name`, which can be pulled as it stands, or the bare names when
 * the request is about one registry.
 */
export async function catalogPage(
  repositories: AsyncIterable<Repository>,
  registry: string | undefined,
  page: Page,
): Promise<ListPage> {
  const names: string[] = [];
  for await (const repository of repositories) {
    if (registry !== undefined && repository.registry !== registry) continue;
    names.push(registry === undefined ? repositoryKey(repository) : repository.name);
  }
  return pageOfList(names.sort(), page);
}

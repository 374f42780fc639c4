import { isMirrorError } from '../oci/errors.ts';
import { findIncomplete } from '../oci/incomplete-list.ts';
import { askAndRead } from './ask-and-read.ts';
import type { EndpointAnswer } from './endpoints.ts';
import type { Answer, Ask } from './exchange.ts';
import { nextPage } from './link.ts';
import { headerText } from './quirks.ts';

/** quay pages tags by 100 at most: 1,000 pages are 100,000 tags, beyond any real repository. */
export const pagesMax = 1_000;

/** A list that comes in pages, and what becomes of each. */
export interface PagedList {
  readonly first: Ask;
  readonly send: (ask: Ask) => Promise<EndpointAnswer>;
  /** Whether an address is the registry's own. */
  readonly isOwn: (url: URL) => boolean;
  /**
   * Reads a page, and answers how many entries it had; or why no more of the list is taken.
   * @throws MirrorError when the answer is no page of that list
   */
  readonly take: (answer: Answer) => Promise<number | { readonly missing: string }>;
  /** Whether a later page that fails so ends the list there; else the whole fails. */
  readonly endsAt: (error: unknown) => boolean;
}

/**
 * Asks for page after page, to the end. What is read of a list whose next page is named and cannot be
 * had is no whole list: it answers why, and undefined when nothing is missing.
 */
export async function readPages(list: PagedList): Promise<string | undefined> {
  const asked = new Set<string>();
  let ask = list.first;
  let said: string | undefined;
  for (let page = 1; page <= pagesMax; page += 1) {
    let answer: Answer;
    let taken: number | { readonly missing: string };
    try {
      ({ answer, taken } = await readPage(list, ask));
    } catch (error) {
      if (page === 1 || !list.endsAt(error) || !isMirrorError(error)) throw error;
      return `page ${page} of it cannot be had: ${error.message}`;
    }
    if (typeof taken === 'object') return taken.missing;
    said ??= findIncomplete(headerText(answer.headers, 'warning'));
    const next = nextPage(answer);
    if (next === undefined) return said;
    if ('missing' in next) return next.missing;
    // A registry that ignores the query sends the same page without end; after an empty one nothing follows.
    if (asked.has(next.query)) return taken === 0 ? said : 'its next page is the same again';
    asked.add(next.query);
    ask = askFor(list, answer, next.query);
  }
  return `it has more than ${pagesMax} pages`;
}

function readPage(
  { send, take }: PagedList,
  ask: Ask,
): Promise<{ answer: Answer; taken: Awaited<ReturnType<PagedList['take']>> }> {
  return askAndRead(
    () => send(ask),
    async (answer) => ({ answer, taken: await take(answer) }),
  );
}

/** The next page is where this one was: at another host without the redirect, which may drop the query. */
function askFor({ first, isOwn }: PagedList, answer: Answer, query: string): Ask {
  const path = first.path.split('?', 1)[0]!;
  // By the path, another URL of the same registry can answer as well.
  if (isOwn(answer.url) && answer.url.pathname.endsWith(path)) {
    return { ...first, path: `${path}${query}` };
  }
  const url = new URL(answer.url);
  url.search = query;
  return { ...first, url };
}

import type { Answer } from './exchange.ts';

/**
 * The path of the next page below the repository, from `Link: <…>; rel="next"`; undefined when this
 * was the last, or when the link leads to another host: a link never chooses whom we talk to.
 *
 * Only the query is taken. registry.k8s.io redirects to a host with other paths, so the path of the
 * link may not be ours.
 * @param endpoint such as `tags/list`
 */
export function nextPage(answer: Answer, name: string, endpoint: string): string | undefined {
  const next = findNext(answer);
  if (next?.origin !== answer.url.origin || !next.pathname.includes(`/${name}/`)) return undefined;
  return next.search === '' ? undefined : `${endpoint}${next.search}`;
}

/** The query of the next page, with its question mark, for a list that is of no repository. */
export function nextQuery(answer: Answer): string | undefined {
  const next = findNext(answer);
  if (next?.origin !== answer.url.origin || next.search === '') return undefined;
  return next.search;
}

/** The other host that the link leads to, if it does: what was read until there is not the whole list. */
export function foreignHostOf(answer: Answer): string | undefined {
  const next = findNext(answer);
  return next === undefined || next.origin === answer.url.origin ? undefined : next.host;
}

function findNext({ headers, url }: Answer): URL | undefined {
  const header = headers['link'];
  const text = Array.isArray(header) ? header.join(', ') : header;
  const match = /<([^<>]{1,4096})>\s*;[^,]*\brel\s*=\s*"?next"?/i.exec(text ?? '');
  const target = match?.[1];
  return target !== undefined && URL.canParse(target, url) ? new URL(target, url) : undefined;
}

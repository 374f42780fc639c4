import type { Answer } from './exchange.ts';

/** The query of the next page, with its question mark; or why it cannot be asked for. */
export type NextPage = { readonly query: string } | { readonly missing: string };

/**
 * What `Link: <…>; rel="next"` says of the next page (RFC 8288); undefined when this was the last.
 *
 * Only the query is taken, for the address that answered: a link chooses neither whom nor what we ask.
 * Its scheme, host, port and path are often those of a server behind the one that is asked (a TLS
 * terminator, a reverse proxy), and registry.k8s.io answers from a host with other paths.
 */
export function nextPage({ headers, url }: Answer): NextPage | undefined {
  const header = headers['link'];
  const text = Array.isArray(header) ? header.join(', ') : (header ?? '');
  const { target, unread } = findTarget(text, 'next');
  if (target === undefined) {
    const isMeant = /;\s*rel\s*=[\s"']*next\b/i.test(unread);
    return isMeant ? { missing: 'the Link to its next page cannot be read' } : undefined;
  }
  if (!URL.canParse(target, url)) return { missing: 'the Link to its next page is no address' };
  const { search } = new URL(target, url);
  return search === '' ? { missing: 'the Link to its next page has no query' } : { query: search };
}

/**
 * One link and its parameters. The angle brackets are left out by some; a comma or a semicolon within
 * them, or within quotes, divides nothing. No blank can be read in two ways, or the time for what cannot
 * be read would double with each of them.
 */
const linkValue =
  /[\s,]*(?:<([^<>]*)>|([^\s<>;,"]+))((?:\s*;(?:\s*[^\s=;,"]+(?:\s*=(?:\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]+))?)?)?)*)\s*(?=,|$)/gy;

const parameter = /;\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/g;

/** Where the first link of that relation leads, and what follows the last link that can be read. */
function findTarget(
  text: string,
  relation: string,
): { readonly target: string | undefined; readonly unread: string } {
  let end = 0;
  for (const match of text.matchAll(linkValue)) {
    const [whole, bracketed, bare, parameters = ''] = match;
    if (relationsOf(parameters).includes(relation)) {
      return { target: bracketed ?? bare, unread: '' };
    }
    end = match.index + whole.length;
  }
  return { target: undefined, unread: text.slice(end) };
}

/** Of several `rel` the first counts (RFC 8288, 3.3); single quotes are no quotes, and sent. */
function relationsOf(parameters: string): string[] {
  for (const [, name, quoted, token] of parameters.matchAll(parameter)) {
    if (name?.toLowerCase() !== 'rel') continue;
    const value = quoted?.replaceAll(/\\(.)/g, '$1') ?? token ?? '';
    return value.replaceAll("'", '').trim().toLowerCase().split(/\s+/);
  }
  return [];
}

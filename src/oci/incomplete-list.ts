/** What a Warning begins with that says why a list is not all there is. */
const incomplete = 'this list is incomplete: ';

export function incompleteWarning(missing: string): string {
  return incomplete + missing;
}

/**
 * Why a list is not all there is, when a mirror like this one has sent it and said so; its clients do not
 * look, another mirror must not take it for whole.
 * @param header `Warning: 299 - "…"`; RFC 7234, 5.5
 */
export function findIncomplete(header: string | undefined): string | undefined {
  return new RegExp(`\\b299 \\S+ "${incomplete}([^"]*)"`).exec(header ?? '')?.[1];
}

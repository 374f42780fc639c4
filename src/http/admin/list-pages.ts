import { AdminProblem } from './problems.ts';

/**
 * A page of what is held in memory: at most `limit` after the one whose key is `after`.
 * @throws AdminProblem 400 for a cursor that names nothing: to begin anew would be an endless list
 */
export function pageOfList<T>(
  all: readonly T[],
  keyOf: (item: T) => string,
  { limit, after }: { readonly limit: number; readonly after?: string | undefined },
): { items: T[]; next: string | null } {
  const at = after === undefined ? -1 : all.findIndex((item) => keyOf(item) === after);
  if (after !== undefined && at === -1) {
    throw new AdminProblem(
      400,
      `Nothing in this list is «${after}»: give the next of the page before as after, or leave it out`,
    );
  }
  const items = all.slice(at + 1, at + 1 + limit);
  const last = items.at(-1);
  const hasMore = at + 1 + limit < all.length && last !== undefined;
  return { items, next: hasMore ? keyOf(last) : null };
}

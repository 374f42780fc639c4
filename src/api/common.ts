import { z } from 'zod';

/**
 * Shapes of the admin API, one file an area: the server validates by them, the command line and the
 * dashboard take their types. Sizes are bytes, times ISO 8601 in UTC.
 */

export const time = z.iso.datetime().describe('ISO 8601, UTC');
export const bytes = z.number().min(0).describe('bytes');
export const count = z.number().int().min(0);
export const digest = z.string().describe('algorithm:hex');

/** What every error is answered with: RFC 9457, `application/problem+json`. */
export const problem = z.object({
  title: z.string(),
  status: z.number().int(),
  detail: z.string().optional(),
  /** Of bad input: where it is wrong, and how. */
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});

export type Problem = z.output<typeof problem>;

export const limitMax = 1_000;

/** How a list is read: at most `limit` entries after the one that `after` names. */
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(limitMax).default(100),
  after: z.string().max(512).optional().describe('the `next` of the page before'),
});

/** The same of a list that is short by its nature, such as that of jobs: whole unless told. */
export const shortPageQuery = pageQuery.extend({
  limit: z.coerce.number().int().min(1).max(limitMax).default(limitMax),
});

/** One page of a list; `next` is null on the last. */
export function pageOf<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}

export interface PageOf<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

import { z } from 'zod';
import { bytes, count, digest, time } from './common.ts';
import { run } from './runs.ts';

export const change = z.object({
  seq: count.describe('orders the changes; never used twice'),
  at: time,
  repository: z.string(),
  tag: z.string(),
  digest: digest.nullable(),
  mediaType: z.string().nullable(),
  kind: z.enum(['set', 'delete', 'complete']),
});

/** What changed after a number; `next` is the number to go on with. */
export const changePage = z.object({
  items: z.array(change),
  next: z.string().nullable(),
  latest: count.describe('the number of the newest change'),
  log: z.string().describe('tells this log from one that was begun anew; send it back as `log`'),
});

export const undelivered = z.object({
  repository: z.string().nullable().describe('null: everything that the rule selects'),
  tag: z.string().nullable().describe('null: all that the rule selects of the repository'),
  attempts: count,
  since: time,
  retryAt: time,
  error: z.string(),
});

export const syncRule = z.object({
  name: z.string(),
  direction: z
    .enum(['from', 'to'])
    .describe('copies from the primary, or sends to another registry'),
  peer: z.string().describe('the URL of the other side'),
  repositories: z.array(z.string()),
  schedule: z.string().nullable(),
  follows: z.boolean().describe('by the feed of the primary'),
  state: z.enum(['ok', 'behind', 'failing', 'unknown']),
  lagChanges: count.nullable().describe('changes at the primary that are not here yet'),
  lagSeconds: z.number().min(0).nullable().describe('since when, by the clock of this site'),
  copied: z
    .object({
      images: count,
      fetchedBytes: bytes,
      savedBytes: bytes.describe('of copied images that were here already, as parts of others'),
    })
    .describe('since the rule exists'),
  undelivered: z.array(undelivered).describe('what failed and is tried again'),
  lastSuccessAt: time.nullable(),
  lastError: z.string().nullable(),
  lastRun: run.nullable(),
});

export const syncStatus = z.object({
  site: z.string().nullable(),
  primary: z.string().nullable(),
  primaryAnsweredAt: time.nullable(),
  items: z.array(syncRule),
  next: z.string().nullable(),
});

export const syncDifference = z.object({
  rule: z.string(),
  repository: z.string(),
  tag: z.string(),
  here: digest.nullable(),
  there: digest.nullable(),
});

export const syncVerification = z.object({
  isEqual: z.boolean(),
  items: z.array(syncDifference),
  next: z.null(),
});

export type Change = z.output<typeof change>;
export type SyncStatus = z.output<typeof syncStatus>;
export type SyncVerification = z.output<typeof syncVerification>;

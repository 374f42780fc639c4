import { z } from 'zod';
import { bytes, count, digest, time } from './common.ts';
import { upstream } from './upstreams.ts';

/** How requests were answered; the names of X-Cache. */
export const outcomes = z.object({
  hits: count,
  misses: count,
  joined: count.describe('shared the transfer that another request had begun'),
  revalidated: count,
  stale: count,
  errors: count,
});

export const byUpstream = outcomes.extend({
  upstream: z.string(),
  kind: z.enum(['manifest', 'blob', 'tags', 'referrers']),
});

export const transferred = z.object({
  served: bytes.describe('to clients'),
  fetched: bytes.describe('from upstreams'),
  saved: bytes.describe('served and not fetched'),
});

export const tier = z.object({
  name: z.enum(['small', 'large']).describe('below 1 MiB, or not'),
  usedBytes: bytes,
  maxBytes: bytes.describe('what it keeps whatever the other one needs; 0: no limit'),
  blobs: count,
});

export const disk = z.object({
  usedBytes: bytes,
  reservedBytes: bytes.describe('for what is arriving'),
  maxBytes: bytes.describe('0: only minFree counts'),
  freeBytes: bytes.describe('of the file system'),
  totalBytes: bytes.describe('of the file system'),
  blobs: count,
  isCounted: z.boolean().describe('false while the disk is still being counted after the start'),
  tiers: z.array(tier),
});

export const fill = z.object({
  digest,
  repository: z.string(),
  reason: z.string().describe('client, read-ahead, prewarm or sync'),
  sizeBytes: bytes.nullable(),
  doneBytes: bytes,
  clients: count.describe('who read it as it arrives'),
  connections: count,
  seconds: z.number().min(0).describe('since it began'),
});

export const topImage = z.object({
  repository: z.string(),
  pulls: count.describe('manifests served'),
  servedBytes: bytes,
  lastPullAt: time,
});

/** Since it was first counted, over restarts. */
export const prewarmed = z.object({
  bytes: bytes.describe('of blobs that prewarming fetched'),
  servedBytes: bytes.describe('of those that a client has asked for since'),
  evictedBytes: bytes.describe('of those that went before any client asked for them'),
});

/** Everything since the start of the process, but for the disk and prewarming. */
export const stats = z.object({
  version: z.string(),
  startedAt: time,
  uptimeSeconds: z.number().min(0),
  requests: outcomes.extend({ total: count }),
  hitRatio: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .describe('of manifests and blobs; null before the first'),
  byUpstream: z.array(byUpstream),
  bytes: transferred,
  quotaRequestsSaved: count.describe('manifests served that cost upstream no GET'),
  disk,
  fills: z.array(fill),
  evictions: z.object({ blobs: count, bytes }),
  prewarm: prewarmed,
  upstreams: z.array(upstream),
  topImages: z.array(topImage),
});

export const historyPoint = z.object({
  at: time.describe('the beginning of the step'),
  requests: count,
  hits: count,
  misses: count,
  stale: count,
  errors: count,
  servedBytes: bytes,
  fetchedBytes: bytes,
});

export const history = z.object({
  window: z.string(),
  stepSeconds: count,
  points: z.array(historyPoint),
});

export type Stats = z.output<typeof stats>;
export type Disk = z.output<typeof disk>;
export type History = z.output<typeof history>;

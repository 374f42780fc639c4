import { z } from 'zod';
import { count, pageOf, time } from './common.ts';

export const quota = z.object({
  account: z.string().describe('the user name of the login, or anonymous'),
  source: z.string().nullable().describe('whom upstream counts: an address, or an id of its own'),
  limit: count.nullable().describe('pulls in a window; null while upstream has named none'),
  remaining: count.nullable(),
  windowSeconds: count.nullable(),
  seenAt: time.nullable(),
  pulls: count.describe('GETs of manifests since the start'),
  checks: count.describe('HEADs of manifests since the start, which do not count at Docker Hub'),
});

export const pause = z.object({
  scope: z
    .enum(['pulls', 'blobs', 'referrers', 'all'])
    .describe('what is not asked for; pulls are GETs of manifests'),
  secondsLeft: count,
});

export const upstream = z.object({
  name: z.string(),
  urls: z.array(z.string()),
  state: z.enum(['up', 'down', 'offline']),
  requests: count.describe('since the start'),
  errors: count.describe('of these without an answer, or with 429 or 5xx'),
  averageMs: z.number().min(0).describe('until the headers of an answer'),
  lastError: z.object({ at: time, message: z.string() }).nullable(),
  quotas: z.array(quota),
  pauses: z.array(pause).describe('what is left alone after a 429'),
});

export const upstreamPage = pageOf(upstream);

export type Quota = z.output<typeof quota>;
export type Upstream = z.output<typeof upstream>;

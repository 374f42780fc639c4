import { z } from 'zod';
import { bytes, count, pageOf, time } from './common.ts';

export const runState = z.enum([
  'queued',
  'running',
  'waiting',
  'succeeded',
  'partial',
  'failed',
  'cancelled',
]);

export const progress = z.object({
  imagesDone: count,
  imagesTotal: count,
  blobsDone: count,
  blobsTotal: count,
  bytesDone: bytes,
  bytesTotal: bytes,
  bytesFetched: bytes.describe('of bytesDone, what came from an upstream; the rest was here'),
});

/** One execution of a job. */
export const run = z.object({
  id: z.string(),
  job: z.string(),
  trigger: z.enum(['schedule', 'manual', 'feed', 'start']),
  state: runState,
  reason: z.string().nullable().describe('why it waits'),
  isDryRun: z.boolean(),
  progress,
  bytesPerSecond: z
    .number()
    .min(0)
    .describe('since it began; of what is fetched, when anything is'),
  secondsLeft: z.number().min(0).nullable().describe('at that rate'),
  queuedAt: time,
  startedAt: time.nullable(),
  endedAt: time.nullable(),
  errors: z.array(z.object({ object: z.string(), message: z.string() })),
});

/** With its log, the newest line last. */
export const runWithLog = run.extend({ log: z.array(z.object({ at: time, text: z.string() })) });

export const job = z.object({
  name: z.string(),
  summary: z.string(),
  schedule: z.string().nullable(),
  timeZone: z.string().nullable(),
  nextAt: time.nullable(),
  lastRun: run.nullable(),
});

export const prewarmRequest = z.object({
  images: z.array(z.string().min(1)).min(1).max(1_000),
  platforms: z.array(z.string()).max(20).default([]),
  referrers: z.boolean().default(false),
  dryRun: z.boolean().default(false),
});

export const runPage = pageOf(run);
export const jobPage = pageOf(job);

export type Run = z.output<typeof run>;
export type RunWithLog = z.output<typeof runWithLog>;
export type Job = z.output<typeof job>;

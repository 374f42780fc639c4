import { z } from 'zod';
import { bytes, count, digest, pageOf, time } from './common.ts';

export const pin = z.object({
  reference: z.string().describe('such as docker.io/library/nginx:1.27'),
  digest,
  /** Manifests, configs and layers that stay for it. */
  keeps: count,
  by: z.array(z.string()).describe('person, or the jobs of the rules that select it'),
  pinnedAt: time,
});

export const pinPage = pageOf(pin);

export const pinRequest = z.object({ reference: z.string().min(1).max(512) });

export const purged = z.object({
  isDryRun: z.boolean(),
  /** Tags that are forgotten. */
  tags: z.array(z.string()),
  manifests: z.array(digest),
  blobs: count,
  bytes,
  log: z.array(z.string()).describe('what happened to what'),
  errors: z.array(z.object({ object: z.string(), message: z.string() })),
});

export const rolledBack = z.object({ reference: z.string(), digest });

/** What came of an import. */
export const imported = z.object({
  images: z.array(z.object({ reference: z.string(), digest })),
  /** Blobs that are new here, and those that were here already. */
  blobs: count,
  present: count,
  bytes,
  skipped: z.array(z.object({ object: z.string(), reason: z.string() })),
});

export type Pin = z.output<typeof pin>;
export type Purged = z.output<typeof purged>;
export type Imported = z.output<typeof imported>;

import { z } from 'zod';
import { bytes, count, digest, pageOf, time } from './common.ts';

export const repository = z.object({
  name: z.string().describe('upstream and name, such as docker.io/library/nginx'),
  upstream: z.string(),
  tags: count,
});

/** How long something will be here, as far as anybody can say. */
const stay = {
  usedAt: time.nullable().describe('when it was last used; null while that is not known'),
  isPinned: z.boolean().describe('kept whatever the budget says'),
};

export const tagMoment = z.object({ digest, firstSeenAt: time, lastSeenAt: time });

export const tag = z.object({
  tag: z.string(),
  digest,
  mediaType: z.string(),
  sizeBytes: bytes.describe('of the manifest itself'),
  checkedAt: time.describe('when upstream last confirmed it'),
  ...stay,
  history: z.array(tagMoment).describe('what it named before, the newest first'),
  images: z
    .array(digest)
    .optional()
    .describe('of an index, when asked for: the manifests it names that are cached'),
  storedBytes: bytes
    .optional()
    .describe('when asked for: what is stored of its images, each layer once'),
});

export const platform = z.object({
  os: z.string(),
  architecture: z.string(),
  variant: z.string().optional(),
});

export const manifestPart = z.object({
  digest,
  mediaType: z.string(),
  sizeBytes: bytes,
  isCached: z.boolean(),
  ...stay,
  platform: platform.optional(),
});

export const manifest = z.object({
  digest,
  mediaType: z.string(),
  kind: z.enum(['image', 'index', 'artifact']),
  sizeBytes: bytes,
  totalBytes: bytes.describe('of the manifest and what it names directly'),
  isComplete: z.boolean().describe('all that it names directly is cached'),
  ...stay,
  blobs: z.array(manifestPart).describe('config and layers of an image, in its order'),
  manifests: z.array(manifestPart).describe('the images of an index'),
});

export const blob = z.object({ digest, sizeBytes: bytes, ...stay });

export const repositoryPage = pageOf(repository);
export const tagPage = pageOf(tag);
export const blobPage = pageOf(blob);

export type Repository = z.output<typeof repository>;
export type Blob = z.output<typeof blob>;
export type Tag = z.output<typeof tag>;
export type Manifest = z.output<typeof manifest>;
export type ManifestPart = z.output<typeof manifestPart>;

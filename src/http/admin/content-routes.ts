import { z } from 'zod';
import { pageQuery, problem, type PageOf } from '../../api/common.ts';
import {
  blobPage,
  manifest,
  repositoryPage,
  tagPage,
  type Blob,
  type Manifest,
  type ManifestPart,
  type Repository as RepositoryShape,
  type Tag,
} from '../../api/content.ts';
import type {
  CachedBlob,
  CachedManifest,
  CachedPart,
  CachedTag,
  Inventory,
  ListOf,
  Stay,
} from '../../mirror/inventory.ts';
import { parseDigest, type Digest } from '../../oci/digest.ts';
import { parseRepositoryName, repositoryKey, type Repository } from '../../oci/reference.ts';
import { AdminProblem } from './problems.ts';
import type { AdminRoutes } from './server.ts';

/** What is cached: repositories, their tags with history, manifests with what they name, blobs. */
export function contentRoutes(inventory: Inventory): AdminRoutes {
  return (app) => {
    const tags = ['content'];
    app.get(
      '/repositories',
      {
        schema: {
          tags,
          summary: 'Repositories of which something is cached',
          querystring: pageQuery.extend({
            search: z.string().max(256).optional().describe('a part of the name'),
          }),
          response: { 200: repositoryPage, 400: problem },
        },
      },
      async ({ query }) => pageFrom(await inventory.repositories(query), repositoryShape),
    );
    app.get(
      '/repositories/:name/tags',
      {
        schema: {
          tags,
          summary: 'Tags of a repository, with what they named before',
          params: z.object({ name: z.string().describe('URL-encoded, with the upstream') }),
          querystring: pageQuery.extend({
            images: z
              .stringbool()
              .default(false)
              .describe('say which images of an index are cached'),
            sizes: z.stringbool().default(false).describe('say how much is stored of each'),
          }),
          response: { 200: tagPage, 400: problem, 404: problem },
        },
      },
      async ({ params, query }) => {
        const { items, next } = await inventory.tags(parseAdminRepository(params.name), query);
        const shapes: Tag[] = [];
        for (const item of items) {
          const images = query.images
            ? await cachedImages(inventory, item.record.digest)
            : undefined;
          const { digest } = item.record;
          const storedBytes = query.sizes ? await inventory.storedBytes(digest) : undefined;
          shapes.push({ ...tagShape(item), images, storedBytes });
        }
        return { items: shapes, next: next ?? null };
      },
    );
    app.get(
      '/manifests/:digest',
      {
        schema: {
          tags,
          summary: 'A cached manifest and what it names',
          params: z.object({ digest: z.string() }),
          response: { 200: manifest, 400: problem, 404: problem },
        },
      },
      async ({ params }) => {
        const found = await inventory.manifest(parseAdminDigest(params.digest));
        if (found !== undefined) return manifestShape(found);
        throw new AdminProblem(404, `No manifest ${params.digest} is cached`);
      },
    );
    app.get(
      '/blobs',
      {
        schema: {
          tags,
          summary: 'Everything that is stored, by digest',
          querystring: pageQuery,
          response: { 200: blobPage, 400: problem },
        },
      },
      async ({ query }) => pageFrom(await inventory.blobs(query), blobShape),
    );
  };
}

async function cachedImages(inventory: Inventory, digest: Digest): Promise<Digest[] | undefined> {
  const found = await inventory.manifest(digest);
  if (found?.kind !== 'index') return undefined;
  return found.manifests.filter(({ isCached }) => isCached).map((image) => image.digest);
}

/** @throws AdminProblem 400 */
export function parseAdminDigest(text: string): Digest {
  try {
    return parseDigest(text);
  } catch {
    throw new AdminProblem(
      400,
      `«${text}» is not a digest; write sha256: and 64 hexadecimal digits`,
    );
  }
}

/** `registry/name`, as the lists show it. @throws AdminProblem 400 */
export function parseAdminRepository(text: string): Repository {
  const slash = text.indexOf('/');
  try {
    if (slash > 0) {
      return { registry: text.slice(0, slash), name: parseRepositoryName(text.slice(slash + 1)) };
    }
  } catch {
    // Said below.
  }
  throw new AdminProblem(
    400,
    `«${text}» is not a repository; write it with its upstream, such as docker.io/library/nginx`,
  );
}

function pageFrom<T, Shape>(
  list: ListOf<T>,
  shape: (item: T) => Shape,
): PageOf<Shape> & { items: Shape[] } {
  return { items: list.items.map(shape), next: list.next ?? null };
}

function repositoryShape(one: { repository: Repository; tags: number }): RepositoryShape {
  return { name: repositoryKey(one.repository), upstream: one.repository.registry, tags: one.tags };
}

function tagShape({ tag, record, stay }: CachedTag): Tag {
  return {
    tag,
    digest: record.digest,
    mediaType: record.mediaType,
    sizeBytes: record.sizeBytes,
    checkedAt: timeText(record.checkedMs),
    ...stayShape(stay),
    history: record.history.map((moment) => ({
      digest: moment.digest,
      firstSeenAt: timeText(moment.firstSeenMs),
      lastSeenAt: timeText(moment.lastSeenMs),
    })),
  };
}

function manifestShape(one: CachedManifest): Manifest {
  const parts = [...one.blobs, ...one.manifests];
  return {
    digest: one.digest,
    mediaType: one.mediaType,
    kind: one.kind,
    sizeBytes: one.sizeBytes,
    totalBytes: parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, one.sizeBytes),
    isComplete: parts.every(({ isCached }) => isCached),
    ...stayShape(one.stay),
    blobs: one.blobs.map(partShape),
    manifests: one.manifests.map(partShape),
  };
}

function partShape({ platform, stay, ...given }: CachedPart): ManifestPart {
  const part = { ...given, ...stayShape(stay) };
  if (platform === undefined) return part;
  const { os, architecture, variant } = platform;
  return {
    ...part,
    platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
  };
}

function blobShape({ digest, sizeBytes, stay }: CachedBlob): Blob {
  return { digest, sizeBytes, ...stayShape(stay) };
}

function stayShape({ usedMs, isPinned }: Stay): { usedAt: string | null; isPinned: boolean } {
  return { usedAt: usedMs === undefined ? null : timeText(usedMs), isPinned };
}

function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

import type { Clock } from '../../base/clock.ts';
import type { Observe } from '../../base/events.ts';
import type { Work } from '../../base/work.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Names } from '../../store/names.ts';
import type { Manifests } from '../manifests.ts';
import { survey, type Doomed, type RepositorySurvey, type Survey } from './survey.ts';

/** What arrived or was used within this is left alone: its manifest may be on its way. */
const graceMs = 60 * 60 * 1000;

/** A tag whose manifest is gone and of which upstream said nothing for so long is forgotten. */
const emptyTagMs = 90 * 24 * 60 * 60 * 1000;

export interface CollectParts {
  readonly store: BlobStore;
  readonly names: Names;
  readonly manifests: Pick<Manifests, 'forget' | 'written'>;
  readonly clock: Clock;
  readonly observe: Observe;
}

/** What was removed, or would be. */
export interface Removed {
  readonly tags: readonly string[];
  readonly manifests: readonly Digest[];
  readonly blobs: number;
  readonly bytes: number;
}

/**
 * Removes what nothing names: manifests that no tag, pin or index holds and that were not used for
 * `untaggedMs`, blobs of no manifest, names of what is not here. What is read meanwhile is read to its end.
 */
export async function collectGarbage(
  parts: CollectParts,
  { untaggedMs }: { readonly untaggedMs: number },
  work: Work,
): Promise<Removed> {
  const now = parts.clock.wallMs();
  const doomed: Doomed = {
    tag: (_repository, _tag, { digest, checkedMs }, stored) =>
      !stored.has(digest) && now - checkedMs > emptyTagMs,
    manifest: (_repository, digest, stored) => now - (stored.get(digest)?.usedMs ?? 0) > untaggedMs,
  };
  const found = await survey(parts, doomed, work.signal);
  const isOld = (digest: Digest): boolean =>
    now - (found.stored.get(digest)?.usedMs ?? now) > Math.min(graceMs, untaggedMs);
  const idle = [...found.stored.keys()].filter(
    (digest) => !found.living.has(digest) && isOld(digest),
  );
  return removeAll(parts, found, idle, work);
}

/** Forgets the doomed names and removes that content, or says that it would. */
export async function removeAll(
  parts: CollectParts,
  found: Survey,
  digests: readonly Digest[],
  work: Work,
): Promise<Removed> {
  const tags: string[] = [];
  const manifests = new Set<Digest>();
  for (const one of found.repositories) {
    tags.push(...one.doomedTags.map(({ tag }) => tagName(one.repository, tag)));
    for (const { digest } of one.doomedManifests) manifests.add(digest);
    if (!work.isDryRun) await forgetNames(parts, one);
  }
  for (const tag of tags) work.log(`${work.isDryRun ? 'would forget' : 'forgot'} ${tag}`);
  work.advance({ blobsTotal: digests.length });
  let bytes = 0;
  let blobs = 0;
  for (const digest of digests) {
    work.signal.throwIfAborted();
    const size = found.stored.get(digest)?.size ?? 0;
    try {
      if (!work.isDryRun) await parts.store.remove(digest);
    } catch (error) {
      work.fail(digest, error);
      continue;
    }
    work.log(`${work.isDryRun ? 'would remove' : 'removed'} ${digest}, ${size} bytes`);
    work.advance({ blobsDone: 1, bytesDone: size });
    blobs += 1;
    bytes += size;
  }
  return { tags, manifests: [...manifests], blobs, bytes };
}

async function forgetNames(
  { names, manifests }: CollectParts,
  { repository, doomedTags, doomedManifests, idleLinks }: RepositorySurvey,
): Promise<void> {
  for (const { tag } of doomedTags) await manifests.forget(repository, { tag });
  for (const { digest } of doomedManifests) await manifests.forget(repository, { digest });
  for (const digest of idleLinks) await names.links.remove(repository, digest);
}

/** `registry/name:tag` */
export function tagName(repository: Repository, tag: string): string {
  return `${repositoryKey(repository)}:${tag}`;
}

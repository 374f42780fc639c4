import type { Pace } from '../../base/token-bucket.ts';
import { formatBytes } from '../../base/units.ts';
import type { Work } from '../../base/work.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Link, Names } from '../../store/names.ts';
import type { Verifier } from '../../store/verify/verifier.ts';

export interface ScrubParts {
  readonly store: BlobStore;
  readonly names: Names;
  readonly verifier: Verifier;
  /** Brings content here as a client's pull would; rejects with why upstream cannot give it. */
  readonly fetch: (repository: Repository, link: Link) => Promise<void>;
}

/**
 * Reads everything that is stored and compares it with its digest, at a rate that leaves the disk to
 * clients. What is wrong is quarantined, and fetched anew from an upstream that has it.
 */
export async function scrub(
  parts: ScrubParts,
  pace: Pace | undefined,
  work: Work,
): Promise<{ readonly sound: number; readonly wrong: number; readonly refetched: number }> {
  const { store, verifier } = parts;
  const counts = { sound: 0, wrong: 0, refetched: 0 };
  const stored = new Map<Digest, number>();
  for await (const { digest, size } of store.walk()) stored.set(digest, size);
  const bytesTotal = [...stored.values()].reduce((sum, size) => sum + size, 0);
  work.advance({ blobsTotal: stored.size, bytesTotal });
  if (work.isDryRun) {
    work.log(`${stored.size} blobs would be read: ${formatBytes(bytesTotal)}`);
    return counts;
  }
  for (const [digest, size] of stored) {
    work.signal.throwIfAborted();
    try {
      const verdict = await verifier.verify(digest, async (bytes) => {
        await pace?.take(bytes, () => 'sync', work.signal);
      });
      if (verdict === 'sound') counts.sound += 1;
      if (verdict === 'wrong') {
        counts.wrong += 1;
        work.log(`${digest} is not what was stored; it is in the quarantine`);
        if (await fetchAnew(parts, digest, work)) counts.refetched += 1;
      }
    } catch (error) {
      work.signal.throwIfAborted();
      work.fail(digest, error);
    }
    work.advance({ blobsDone: 1, bytesDone: size });
  }
  // What has arrived meanwhile is not in the list.
  const isStored = async (digest: Digest): Promise<boolean> =>
    stored.has(digest) || (await store.has(digest));
  await verifier.prune(isStored);
  const { sound, wrong, refetched } = counts;
  work.log(`${sound} are sound, ${wrong} were wrong, of which ${refetched} were fetched anew`);
  return counts;
}

/** From the first repository that has it. */
async function fetchAnew(
  { names, fetch }: ScrubParts,
  digest: Digest,
  work: Work,
): Promise<boolean> {
  let failure: unknown = new Error('no repository is known to have it');
  for await (const repository of names.links.repositories()) {
    const link = await names.links.find(repository, digest);
    if (link === undefined) continue;
    try {
      await fetch(repository, link);
      work.log(`${digest} was fetched anew from ${repositoryKey(repository)}`);
      return true;
    } catch (error) {
      failure = error;
    }
  }
  work.fail(digest, failure);
  return false;
}

import { LRUCache } from 'lru-cache';
import type { Digest } from '../oci/digest.ts';

/** How long upstream's word about a blob is doubted after wrong bytes; a client's retries are over then. */
const suspectMs = 10 * 60_000;

const suspectsMax = 10_000;

/**
 * Blobs of which upstream has sent wrong bytes lately. A part from the middle of a cold blob completes
 * nothing and goes out at once; of these it may complete what a client was cut off from, so it waits.
 */
export class Suspects {
  readonly #digests = new LRUCache<Digest, true>({ max: suspectsMax, ttl: suspectMs });

  has(digest: Digest): boolean {
    return this.#digests.has(digest);
  }

  add(digest: Digest): void {
    this.#digests.set(digest, true);
  }
}

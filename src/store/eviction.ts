import { LRUCache } from 'lru-cache';
import type { Digest } from '../oci/digest.ts';

/** Which content goes when the budget is reached. It decides; the store removes. */
export interface Eviction {
  /** Counts content that is on the disk. */
  admit(digest: Digest, sizeBytes: number): void;
  touch(digest: Digest): void;
  forget(digest: Digest): void;
  /** What to remove, in this order, to get `needBytes` back; what is in use is passed over. */
  victims(needBytes: number, isInUse: (digest: Digest) => boolean): Digest[];
  readonly usedBytes: number;
}

/** Least recently used first. */
export class LruEviction implements Eviction {
  // The budget is the store's: it must be able to pass over content in use, so nothing is dropped here.
  readonly #sizes = new LRUCache<Digest, { readonly sizeBytes: number }>({
    maxSize: Number.MAX_SAFE_INTEGER,
    sizeCalculation: ({ sizeBytes }) => Math.max(1, sizeBytes),
  });

  get usedBytes(): number {
    return this.#sizes.calculatedSize;
  }

  get count(): number {
    return this.#sizes.size;
  }

  admit(digest: Digest, sizeBytes: number): void {
    this.#sizes.set(digest, { sizeBytes });
  }

  /** 0 for what is not counted. */
  sizeOf(digest: Digest): number {
    return this.#sizes.peek(digest)?.sizeBytes ?? 0;
  }

  touch(digest: Digest): void {
    this.#sizes.get(digest);
  }

  forget(digest: Digest): void {
    this.#sizes.delete(digest);
  }

  victims(needBytes: number, isInUse: (digest: Digest) => boolean): Digest[] {
    const chosen: Digest[] = [];
    let freed = 0;
    for (const digest of this.#sizes.rkeys()) {
      if (freed >= needBytes) break;
      if (isInUse(digest)) continue;
      chosen.push(digest);
      freed += this.sizeOf(digest);
    }
    return chosen;
  }
}

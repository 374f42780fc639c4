import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import type { Eviction, Resident } from './eviction.ts';

/** Least recently used first. */
export class LruEviction implements Eviction {
  // The budget is the store's: it must be able to pass over content in use, so nothing is dropped here.
  readonly #residents = new LRUCache<Digest, Resident>({
    maxSize: Number.MAX_SAFE_INTEGER,
    sizeCalculation: ({ occupiedBytes }) => Math.max(1, occupiedBytes),
  });

  get usedBytes(): number {
    return this.#residents.calculatedSize;
  }

  get count(): number {
    return this.#residents.size;
  }

  admit(resident: Resident): void {
    this.#residents.set(resident.digest, resident);
  }

  find(digest: Digest): Resident | undefined {
    return this.#residents.peek(digest);
  }

  touch(digest: Digest, wallMs: number): Resident | undefined {
    const resident = this.#residents.get(digest);
    if (resident !== undefined) resident.usedMs = wallMs;
    return resident;
  }

  forget(digest: Digest): Resident | undefined {
    const resident = this.#residents.peek(digest);
    this.#residents.delete(digest);
    return resident;
  }

  victims(needBytes: number, mustStay: (digest: Digest) => boolean): Resident[] {
    const chosen: Resident[] = [];
    let freed = 0;
    // Not by `dump`, whose time grows with the square of the number.
    for (const resident of this.#residents.rvalues()) {
      if (freed >= needBytes) break;
      if (resident === undefined || mustStay(resident.digest)) continue;
      chosen.push(resident);
      freed += resident.occupiedBytes;
    }
    return chosen;
  }
}

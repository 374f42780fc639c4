import type { Digest } from '../../oci/digest.ts';
import type { TierUsage } from '../blob-store.ts';
import type { Eviction, EvictionPolicy, Resident } from './eviction.ts';
import { LruEviction } from './lru.ts';
import { S3FifoEviction } from './s3-fifo.ts';

/** Below this an object is small: manifests, configs, and most layers by number. */
const smallBytes = 1024 * 1024;

/** What small objects have for themselves: 2 % of the budget holds nearly all that are used. */
const smallShare = 0.02;

/**
 * A tier of its own for small objects, so that one large layer never pushes out a thousand manifests.
 * Both tiers use all space while there is some; when some must go, small objects go only as far as they
 * take more than their share.
 */
export class TieredEviction implements Eviction {
  readonly #small: Eviction;
  readonly #large: Eviction;
  readonly #budgetBytes: () => number;

  /** @param budgetBytes what the share is of; 0: what is stored now */
  constructor(small: Eviction, large: Eviction, budgetBytes: () => number) {
    this.#small = small;
    this.#large = large;
    this.#budgetBytes = budgetBytes;
  }

  get usedBytes(): number {
    return this.#small.usedBytes + this.#large.usedBytes;
  }

  get count(): number {
    return this.#small.count + this.#large.count;
  }

  /** What each holds, and what of the budget is its own; 0: there is no budget. */
  get tiers(): TierUsage[] {
    const budgetBytes = this.#budgetBytes();
    const smallBytesMax = Math.floor(smallShare * budgetBytes);
    const usageOf = (name: TierUsage['name'], tier: Eviction, maxBytes: number): TierUsage => ({
      name,
      usedBytes: tier.usedBytes,
      maxBytes,
      blobs: tier.count,
    });
    return [
      usageOf('small', this.#small, smallBytesMax),
      usageOf('large', this.#large, budgetBytes - smallBytesMax),
    ];
  }

  admit(resident: Resident): void {
    (resident.sizeBytes < smallBytes ? this.#small : this.#large).admit(resident);
  }

  find(digest: Digest): Resident | undefined {
    return this.#small.find(digest) ?? this.#large.find(digest);
  }

  touch(digest: Digest, wallMs: number): Resident | undefined {
    return this.#small.touch(digest, wallMs) ?? this.#large.touch(digest, wallMs);
  }

  forget(digest: Digest): Resident | undefined {
    return this.#small.forget(digest) ?? this.#large.forget(digest);
  }

  victims(needBytes: number, mustStay: (digest: Digest) => boolean): Resident[] {
    const shareBytes = smallShare * (this.#budgetBytes() || this.usedBytes);
    const beyondShare = Math.min(needBytes, this.#small.usedBytes - shareBytes);
    const small = beyondShare > 0 ? this.#small.victims(beyondShare, mustStay) : [];
    const chosen = [...small, ...this.#large.victims(needBytes - freedBy(small), mustStay)];
    const missing = needBytes - freedBy(chosen);
    if (missing <= 0) return chosen;
    // Nothing large is left that could go.
    const named = new Set(small.map(({ digest }) => digest));
    return [
      ...chosen,
      ...this.#small.victims(missing, (digest) => named.has(digest) || mustStay(digest)),
    ];
  }
}

/** @param budgetBytes of the whole store; 0: none */
export function evictionBy(policy: EvictionPolicy, budgetBytes: () => number): TieredEviction {
  const tier = (): Eviction => (policy === 'lru' ? new LruEviction() : new S3FifoEviction());
  return new TieredEviction(tier(), tier(), budgetBytes);
}

function freedBy(victims: readonly Resident[]): number {
  return victims.reduce((sum, { occupiedBytes }) => sum + occupiedBytes, 0);
}

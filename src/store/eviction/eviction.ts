import type { Digest } from '../../oci/digest.ts';

/** What is known of a stored blob without opening it. */
export interface Resident {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** What it takes of the disk: whole blocks. */
  readonly occupiedBytes: number;
  /** Last use, wall clock. */
  usedMs: number;
}

/** Which content goes when the budget is reached. It decides; the store removes. */
export interface Eviction {
  /** The sum of `occupiedBytes`. */
  readonly usedBytes: number;
  readonly count: number;
  /** Counts content that is on the disk, as just used; what is counted already is only touched. */
  admit(resident: Resident): void;
  /** What is known of it; that is no use of it. */
  find(digest: Digest): Resident | undefined;
  /** It was used; answers what is known of it. */
  touch(digest: Digest, wallMs: number): Resident | undefined;
  /** It is counted no longer; answers what was known of it. */
  forget(digest: Digest): Resident | undefined;
  /**
   * What to remove, in this order, to get `needBytes` back, or all that could go if that is less.
   * Nothing is forgotten by being named.
   * @param mustStay what is pinned or in use: it is passed over
   */
  victims(needBytes: number, mustStay: (digest: Digest) => boolean): Resident[];
}

export const evictionPolicies = ['lru', 's3-fifo'] as const;

export type EvictionPolicy = (typeof evictionPolicies)[number];

import path from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { Digest } from '../oci/digest.ts';
import type { EvictionPolicy, Resident } from './eviction/eviction.ts';
import { evictionBy, type TieredEviction } from './eviction/tiered.ts';
import { Recency } from './folder/recency.ts';
import { scanBlobs, type Foreign } from './folder/scan.ts';

/**
 * What is known of the stored blobs without a look at the disk: sizes and order of use. After the start
 * it is what was used since; once the disk is counted it is all of them, and the order goes on from
 * before the start.
 */
export class Residents {
  readonly eviction: TieredEviction;
  readonly #blobsFolder: string;
  readonly #recencyFile: string;
  readonly #clock: Clock;
  readonly #recency: Recency;
  /** Used since the start, before what was used earlier is known. */
  #usedEarly: Set<Digest> | undefined = new Set();
  /** Whether the count was brought to its end. */
  #isComplete = false;

  constructor(parts: {
    readonly folder: string;
    readonly clock: Clock;
    readonly observe: Observe;
    readonly policy: EvictionPolicy;
    readonly budgetBytes: () => number;
  }) {
    const { folder, clock, observe } = parts;
    this.#blobsFolder = path.join(folder, 'blobs');
    this.#recencyFile = path.join(folder, 'recency.db');
    this.#clock = clock;
    this.eviction = evictionBy(parts.policy, parts.budgetBytes);
    this.#recency = new Recency({
      file: this.#recencyFile,
      clock,
      observe,
      storedBytes: () => (this.#isComplete ? this.eviction.usedBytes : undefined),
    });
  }

  /** Whether the disk has been counted. */
  get isCounted(): boolean {
    return this.#usedEarly === undefined;
  }

  /** What was stored at the end of the last process; undefined when nobody knows. */
  get lastStoredBytes(): number | undefined {
    return this.#recency.lastStoredBytes;
  }

  find(digest: Digest): Resident | undefined {
    return this.eviction.find(digest);
  }

  /** It is on the disk. */
  add(digest: Digest, sizeBytes: number, occupiedBytes: number): void {
    if (this.eviction.find(digest) !== undefined) return;
    this.eviction.admit({ digest, sizeBytes, occupiedBytes, usedMs: this.#clock.wallMs() });
  }

  /** As it was known: it is on the disk, and perhaps counted already. */
  restore(resident: Resident): void {
    if (this.eviction.find(resident.digest) === undefined) this.eviction.admit(resident);
  }

  touch(digest: Digest): void {
    const resident = this.eviction.touch(digest, this.#clock.wallMs());
    if (resident === undefined) return;
    this.#usedEarly?.add(digest);
    this.#recency.used(resident);
  }

  /** It is gone from the disk; answers what was known of it. */
  forget(digest: Digest): Resident | undefined {
    this.#recency.forget(digest);
    return this.eviction.forget(digest);
  }

  /**
   * Counts the disk; hits are served meanwhile.
   * @throws Error when that fails or is aborted; what was not counted is found when it is asked for
   */
  async count(signal: AbortSignal): Promise<Foreign> {
    const order = { blobsFolder: this.#blobsFolder, recencyFile: this.#recencyFile };
    try {
      const foreign = await scanBlobs(order, signal, (resident) => this.restore(resident));
      this.#isComplete = true;
      return foreign;
    } finally {
      const early = this.#usedEarly ?? [];
      this.#usedEarly = undefined;
      for (const digest of early) this.touch(digest);
    }
  }

  /** What was used last is written down. */
  close(): Promise<void> {
    return this.#recency.close();
  }
}

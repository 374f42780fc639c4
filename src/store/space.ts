import type { Digest } from '../oci/digest.ts';
import { MirrorError } from '../oci/errors.ts';
import type { Disk } from './disk.ts';
import type { Eviction, Resident } from './eviction/eviction.ts';
import { occupiedBytesOf } from './folder/layout.ts';
import { Removals } from './removals.ts';

export interface DiskBudget {
  /** 0: only `minFreeBytes` counts. */
  readonly maxBytes: number;
  /** What must stay free on the file system, for a file system of this size. */
  readonly minFreeBytes: (totalBytes: number) => number;
  /** When the budget is reached, evict down to this share of it: 0 … 1. */
  readonly lowWatermark: number;
}

/** What an ingest of unknown size reserves at once; the usual layer is smaller. */
const stepBytes = 64 * 1024 * 1024;

/** The next step is reserved when less than this is left, so that writing seldom waits for it. */
const stepMarginBytes = 8 * 1024 * 1024;

/** Victims that cannot be removed are replaced by others, so often. */
const roundsMax = 8;

/** What is chosen at once on the way down to the low watermark: a hundred of the smallest blobs, or one. */
const trimStepBytes = 32 * 1024;

/** Nobody waits for the low watermark, so clients have the machine between its steps. */
const trimPauseMs = 1;

/** Victims that are taken out of the count at once; then others have their turn. */
const sliceSize = 64;

/** How long content waits for the disk to be counted; nearly all are counted sooner. */
const countedWithinMs = 2_000;

/**
 * The space of the store: who may write how much, and what goes for it.
 *
 *     stored (the eviction's count) + reserved + leaving ≤ maxBytes
 *     what is reserved and not written yet ≤ free − minFree
 *
 * Space is reserved before the first byte is written and counts from then on, so those who begin
 * together never count on the same space.
 */
export class Space {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #eviction: Eviction;
  readonly #mustStay: (digest: Digest) => boolean;
  readonly #heldBytes: () => number;
  /** Ends when the disk is counted, or when that takes too long to wait for. */
  readonly #countedSoon: Promise<void>;
  readonly #removals: Removals;
  #budget: DiskBudget;
  #reservedBytes = 0;
  #unwrittenBytes = 0;
  #isCounted = false;
  readonly #assumedBytes: number;
  /** Reservations are made one after the other: the first that fits is not refused for the next one. */
  #turn: Promise<unknown> = Promise.resolve();
  #trimming: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: {
    readonly folder: string;
    readonly disk: Disk;
    readonly budget: DiskBudget;
    readonly eviction: Eviction;
    /** Pinned, or in use: it is no victim. */
    readonly mustStay: (digest: Digest) => boolean;
    /** Takes victims from the disk; what cannot be removed it counts again. Must not reject. */
    readonly remove: (residents: readonly Resident[]) => Promise<void>;
    /** What is kept aside, in the quarantine. */
    readonly heldBytes: () => number;
    /** Ends when the disk has been counted. */
    readonly counted: Promise<void>;
    /** What is taken for stored before the disk is counted; Infinity when nobody knows. */
    readonly assumedBytes: number;
  }) {
    this.#folder = parts.folder;
    this.#disk = parts.disk;
    this.#budget = parts.budget;
    this.#eviction = parts.eviction;
    this.#mustStay = parts.mustStay;
    this.#removals = new Removals(parts.remove);
    this.#heldBytes = parts.heldBytes;
    this.#assumedBytes = parts.assumedBytes;
    const counted = parts.counted.then(() => {
      this.#isCounted = true;
    });
    this.#countedSoon = Promise.race([counted, pause(countedWithinMs)]);
  }

  /** Stored, reserved, on its way out, and in the quarantine. */
  get usedBytes(): number {
    const { leavingBytes } = this.#removals;
    return this.#eviction.usedBytes + this.#reservedBytes + leavingBytes + this.#heldBytes();
  }

  get reservedBytes(): number {
    return this.#reservedBytes;
  }

  get budget(): DiskBudget {
    return this.#budget;
  }

  set budget(budget: DiskBudget) {
    this.#budget = budget;
  }

  /**
   * Space for content of this size, however long it takes until others are out of it.
   * @param sizeBytes undefined while nobody knows: it grows by steps
   * @param writtenBytes what of it lies on the disk already
   * @throws MirrorError DISK_FAILED when it does not fit, in which case nothing is evicted
   */
  async reserve(sizeBytes: number | undefined, writtenBytes: number): Promise<Reservation> {
    const reservation = new Reservation(sizeBytes === undefined, {
      count: (reservedBytes, unwrittenBytes) => {
        this.#reservedBytes += reservedBytes;
        this.#unwrittenBytes += unwrittenBytes;
      },
      take: (bytes, count) => this.#take(bytes, count),
    });
    await reservation.begin(occupiedBytesOf(sizeBytes ?? stepBytes), writtenBytes);
    return reservation;
  }

  /** Ends when nothing is on its way out any more; the low watermark is left to the next process. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#trimming;
    await this.#removals.idle();
  }

  #take(bytes: number, count: (bytes: number) => void): Promise<void> {
    const taken = this.#turn.then(async () => {
      count(bytes);
      try {
        await this.#makeRoom(bytes);
      } catch (error) {
        count(-bytes);
        throw error;
      }
    });
    this.#turn = taken.catch(() => {});
    return taken;
  }

  async #makeRoom(needBytes: number): Promise<void> {
    if (!this.#isCounted) await this.#countedSoon;
    for (let rounds = 0; ;) {
      const leavingBytes = this.#removals.leavingBytes;
      const { freeBytes, totalBytes } = await this.#space();
      const { maxBytes, minFreeBytes } = this.#budget;
      const overFree = this.#unwrittenBytes - (freeBytes - minFreeBytes(totalBytes));
      const overMax = maxBytes === 0 ? 0 : this.#boundBytes() - maxBytes;
      if (overMax <= 0 && overFree <= 0) return;
      // What is leaving already makes room, too.
      const over = Math.max(overMax - this.#removals.leavingBytes, overFree - leavingBytes);
      if (over > 0) {
        rounds += 1;
        await this.#evict(over, needBytes, rounds);
      }
      await this.#removals.progress();
    }
  }

  /** What is used for all that is known: before the disk is counted, what it was said to hold. */
  #boundBytes(): number {
    if (this.#isCounted) return this.usedBytes;
    return Math.max(this.usedBytes, this.#assumedBytes + this.#reservedBytes);
  }

  /** Evicts nothing when that would not be enough. */
  async #evict(overBytes: number, needBytes: number, rounds: number): Promise<void> {
    // Before the disk is counted, nobody knows what was used last.
    const victims = this.#isCounted && rounds <= roundsMax ? this.#victims(overBytes) : [];
    const freedBytes = victims.reduce((sum, { occupiedBytes }) => sum + occupiedBytes, 0);
    if (freedBytes < overBytes) {
      throw new MirrorError(
        'DISK_FAILED',
        `no space for ${needBytes} bytes within storage.maxSize and storage.minFree; the content is passed through uncached`,
      );
    }
    await this.#removeAll(victims);
    const { maxBytes, lowWatermark } = this.#budget;
    const wantedBytes = this.#eviction.usedBytes + this.#reservedBytes;
    const keptBytes = (maxBytes || wantedBytes) * lowWatermark;
    this.#trimming ??= this.#trimTo(keptBytes).finally(() => {
      this.#trimming = undefined;
    });
  }

  /** Goes on in the background, in steps with pauses. */
  async #trimTo(keptBytes: number): Promise<void> {
    let victims: readonly Resident[] = [];
    for (;;) {
      await this.#removals.idle();
      const overBytes = this.#eviction.usedBytes + this.#reservedBytes - keptBytes;
      // A disk that removes nothing is not asked over and over.
      const cannot = victims.some(({ digest }) => this.#eviction.find(digest) !== undefined);
      if (overBytes <= 0 || cannot || this.#isClosed) return;
      victims = this.#victims(Math.min(overBytes, trimStepBytes));
      if (victims.length === 0) return;
      await this.#removeAll(victims);
      await pause(trimPauseMs);
    }
  }

  #victims(needBytes: number): Resident[] {
    return this.#eviction.victims(needBytes, this.#mustStay);
  }

  /** In slices: ten thousand victims at once would hold up the event loop. */
  async #removeAll(victims: readonly Resident[]): Promise<void> {
    for (let at = 0; at < victims.length; at += sliceSize) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      // Meanwhile somebody may have begun to use one, or removed it.
      const leaving = victims
        .slice(at, at + sliceSize)
        .filter(
          ({ digest }) => this.#eviction.find(digest) !== undefined && !this.#mustStay(digest),
        );
      for (const { digest } of leaving) this.#eviction.forget(digest);
      this.#removals.add(leaving);
    }
  }

  async #space(): Promise<{ freeBytes: number; totalBytes: number }> {
    try {
      return await this.#disk.space(this.#folder);
    } catch (cause) {
      throw new MirrorError('DISK_FAILED', 'the cache disk does not answer', { cause });
    }
  }
}

/** Space that one ingest has for itself until `settle`. */
export class Reservation {
  readonly #grows: boolean;
  readonly #space: {
    count(reservedBytes: number, unwrittenBytes: number): void;
    take(bytes: number, count: (bytes: number) => void): Promise<void>;
  };
  #bytes = 0;
  #writtenBytes = 0;
  #growing: Promise<void> | undefined;
  #isSettled = false;

  constructor(
    grows: boolean,
    space: {
      count(reservedBytes: number, unwrittenBytes: number): void;
      take(bytes: number, count: (bytes: number) => void): Promise<void>;
    },
  ) {
    this.#grows = grows;
    this.#space = space;
  }

  async begin(bytes: number, writtenBytes: number): Promise<void> {
    this.wrote(writtenBytes);
    await this.#take(bytes);
  }

  /** Of what is reserved, so much more lies on the disk now. */
  wrote(bytes: number): void {
    const before = this.#unwritten();
    this.#writtenBytes += bytes;
    if (!this.#isSettled) this.#space.count(0, this.#unwritten() - before);
  }

  /**
   * Somebody is about to write up to here. Answers a promise when that needs more space than is
   * reserved, to be awaited before more is written; it rejects with DISK_FAILED when there is none.
   */
  cover(endBytes: number): Promise<void> | undefined {
    if (!this.#grows || endBytes + stepMarginBytes <= this.#bytes) return undefined;
    this.#growing ??= this.#take(stepBytes).finally(() => {
      this.#growing = undefined;
    });
    return this.#growing;
  }

  /** Gives it back: what it was for is stored and counted, or gone. */
  settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#space.count(-this.#bytes, -this.#unwritten());
  }

  /** Gives back what nothing was written to; the rest stays on the disk, and counted. */
  keepWritten(): void {
    this.#grow(Math.min(0, occupiedBytesOf(this.#writtenBytes) - this.#bytes));
  }

  #take(bytes: number): Promise<void> {
    return this.#space.take(bytes, (count) => this.#grow(count));
  }

  #grow(bytes: number): void {
    const before = this.#unwritten();
    this.#bytes += bytes;
    if (!this.#isSettled) this.#space.count(bytes, this.#unwritten() - before);
  }

  #unwritten(): number {
    return Math.max(0, this.#bytes - this.#writtenBytes);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Intervals, type ByteRange } from '../base/intervals.ts';
import { algorithmOf, encodedOf, type Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import type { Lease, Reader } from '../base/reader.ts';
import { movingBytes, type ChunkCache } from './chunk-cache.ts';
import type { Content } from './content.ts';
import type { Hashed, HashRun } from './hashing.ts';
import { IngestWriter } from './ingest-writer.ts';
import type { OpenFile } from './open-file.ts';
import type { PartialFile } from './partial-file.ts';

/** What is handed to the hashing thread at once: each hand-over wakes it, and costs as much as 100 kB. */
const hashStepBytes = 1024 * 1024;

/**
 * A blob that is arriving: a sparse temporary file, the set of what is filled, and whoever waits.
 *
 *   filling ──complete()──▶ verified ──(fdatasync, rename, fsync)──▶ committed
 *      │  writer, read          │ read                                    │ read, then store.find
 *      └────fail()──────────────┴──▶ failed: readers get the error, the file goes
 *
 * - Several writers fill it from several places; each owns the range that it writes.
 * - A reader owns a position, nothing else. It gets bytes from memory while they are there and from
 *   the file otherwise, so a slow one holds up nobody.
 * - The last bytes of the whole wait until the digest is right: nobody receives a complete wrong body.
 * - They do not wait for the disk: `verified` lets them go, while the rename waits for the sync.
 */
export class Ingest implements Content {
  readonly digest: Digest;
  /** Resolves when the file has its final name; rejects with the error of `fail`. */
  readonly committed: Promise<void>;
  /** Told whenever a reader begins to wait, with the position that it wants. */
  onWaiting: (position: number) => void = () => {};

  readonly #open: OpenFile;
  readonly #cache: ChunkCache;
  readonly #startHash: () => HashRun;
  readonly #partial: PartialFile;
  readonly #publish: (crcs: Uint32Array) => Promise<void>;
  readonly #setAside: (written: readonly ByteRange[]) => Promise<boolean>;
  /** Readable now, from memory or from the file. */
  readonly #filled = new Intervals();
  /** Written to the file. */
  readonly #written = new Intervals();
  readonly #waiters = new Set<{ readonly position: number; readonly wake: () => void }>();
  readonly #settle = Promise.withResolvers<void>();
  readonly #sizeKnown = Promise.withResolvers<number>();
  readonly #flushes = new Set<Promise<void>>();
  #size: number | undefined;
  #hash: HashRun | undefined;
  #hashedTo = 0;
  #isVerified = false;
  #phase: 'filling' | 'verified' | 'committed' | 'failed' = 'filling';
  #failure: unknown;

  constructor(parts: {
    readonly digest: Digest;
    readonly sizeBytes: number | undefined;
    readonly open: OpenFile;
    readonly cache: ChunkCache;
    readonly startHash: () => HashRun;
    readonly partial: PartialFile;
    /** What of it an earlier process has brought; it is hashed with the rest. */
    readonly filled: readonly ByteRange[];
    /** Keeps what is written for the next attempt; false when it is not worth it. */
    readonly setAside: (written: readonly ByteRange[]) => Promise<boolean>;
    /** Syncs and renames; is told the CRC-32 of each chunk. */
    readonly publish: (crcs: Uint32Array) => Promise<void>;
  }) {
    this.digest = parts.digest;
    this.#open = parts.open;
    this.#cache = parts.cache;
    this.#startHash = parts.startHash;
    this.#partial = parts.partial;
    this.#publish = parts.publish;
    this.#setAside = parts.setAside;
    for (const { start, end } of parts.filled) {
      this.#filled.add(start, end);
      this.#written.add(start, end);
    }
    this.committed = this.#settle.promise;
    this.committed.catch(() => {});
    this.#sizeKnown.promise.catch(() => {});
    if (parts.sizeBytes !== undefined) this.setSize(parts.sizeBytes);
  }

  get sizeBytes(): number {
    if (this.#size === undefined) throw new Error('the size is not known yet: await sizeKnown');
    return this.#size;
  }

  /** Resolves when the size is known: at once, but for an upstream that announces none. */
  get sizeKnown(): Promise<number> {
    return this.#sizeKnown.promise;
  }

  get hasSize(): boolean {
    return this.#size !== undefined;
  }

  get failure(): unknown {
    return this.#failure;
  }

  get filledBytes(): number {
    return this.#filled.totalBytes();
  }

  /** What is here now. */
  filled(): ByteRange[] {
    return this.#filled.toArray();
  }

  /** Where the run of readable bytes that begins at `position` ends. */
  filledTo(position: number): number {
    return this.#filled.runEnd(position);
  }

  /** Whether the digest has been found right. */
  get isVerified(): boolean {
    return this.#isVerified;
  }

  /** The positions that readers wait for now, in no order. */
  waitingPositions(): number[] {
    return Array.from(this.#waiters, ({ position }) => position);
  }

  setSize(sizeBytes: number): void {
    this.#size = sizeBytes;
    this.#sizeKnown.resolve(sizeBytes);
  }

  /** A writer that fills from `start` on; its owner keeps it inside a range that nobody else fills. */
  writer(start: number): IngestWriter {
    return new IngestWriter(this.#open, this.#cache, start, {
      size: () => this.#size,
      failure: () => this.#failure,
      filled: (from, to) => this.#markFilled(from, to),
      written: (from, to) => this.#markWritten(from, to),
      flushing: (flush) => this.#track(flush),
      cover: (end) => this.#partial.reservation.cover(end),
    });
  }

  /** @param mayComplete somebody may have the beginning, for all that it is not here */
  read(range: ByteRange, mayComplete: boolean = false): Reader {
    // A body that begins at 0, or goes on where an earlier one was cut, may complete the whole: its
    // last bytes wait for the digest. A part from the middle of a cold blob completes nothing.
    const hasBeginning = mayComplete || this.#filled.covers(0, range.start);
    const completes = range.end === this.sizeBytes && hasBeginning;
    return new IngestReader(this.#open, range, (position, seat) =>
      this.#lease(position, range, completes, seat),
    );
  }

  /**
   * Every byte is here: judge, then publish. Resolves when the verdict is known; `committed` follows.
   * @throws MirrorError CONTENT_CORRUPT, DISK_FAILED
   */
  async complete(): Promise<void> {
    let found: Hashed;
    try {
      found = await this.#hashOfContent();
      if (this.#phase !== 'filling') throw this.#failure;
      if (found.hex !== encodedOf(this.digest)) {
        throw new MirrorError(
          'CONTENT_CORRUPT',
          `the content that upstream sent for ${this.digest} has the digest ${algorithmOf(this.digest)}:${found.hex}; it was thrown away`,
        );
      }
    } catch (error) {
      await this.fail(error);
      throw error;
    }
    this.#phase = 'verified';
    this.#isVerified = true;
    this.#wakeAll();
    void this.#commit(found.crcs);
  }

  /** Ends it: waiting readers get the error once they have what is here. Idempotent. */
  async fail(error: unknown): Promise<void> {
    if (this.#phase === 'failed' || this.#phase === 'committed') return;
    this.#phase = 'failed';
    this.#failure = error;
    this.#sizeKnown.reject(error);
    this.#wakeAll();
    const flushed = await Promise.allSettled(this.#flushes);
    await this.#hash?.cancel().catch(() => {});
    const isSound = isOfUpstream(error) && flushed.every(({ status }) => status === 'fulfilled');
    const isKept = isSound && (await this.#setAside(this.#written.toArray()).catch(() => false));
    if (!isKept) await this.#partial.discard();
    this.#open.release();
    this.#settle.reject(error);
  }

  async #commit(crcs: Uint32Array): Promise<void> {
    try {
      await Promise.all(this.#flushes);
      await this.#publish(crcs);
      this.#phase = 'committed';
      this.#open.release();
      this.#settle.resolve();
    } catch (cause) {
      await this.fail(
        new MirrorError('DISK_FAILED', `the cache disk failed while ${this.digest} was stored`, {
          cause,
        }),
      );
    }
  }

  /** A blob of one chunk is hashed where it stands; the others are hashed by a thread as they grow. */
  async #hashOfContent(): Promise<Hashed> {
    if (this.sizeBytes === 0) return hashedOf(this.digest, Buffer.alloc(0));
    if (this.#hash === undefined) {
      const chunk = this.#cache.hold(this.#open.chunks, 0, 0);
      if (chunk !== undefined) {
        try {
          if (chunk.to === this.sizeBytes) {
            return hashedOf(this.digest, chunk.buffer.subarray(0, chunk.to));
          }
        } finally {
          this.#cache.release(chunk);
        }
      }
    }
    await Promise.all(this.#flushes);
    if (this.#phase !== 'filling') throw this.#failure;
    this.#hashWritten();
    const run = this.#hash;
    this.#hash = undefined;
    if (run === undefined) throw new Error('nothing was hashed');
    try {
      return await run.digest();
    } catch (cause) {
      throw new MirrorError('DISK_FAILED', 'the cache disk failed while a blob was hashed', {
        cause,
      });
    }
  }

  #hashWritten(): void {
    const to = this.#written.runEnd(0);
    if (to <= this.#hashedTo || this.#phase !== 'filling') return;
    this.#hash ??= this.#startHash();
    this.#hash.update(this.#hashedTo, to);
    this.#hashedTo = to;
  }

  #track(flush: Promise<void>): Promise<void> {
    const done = flush.catch((cause: unknown) => {
      const error = new MirrorError('DISK_FAILED', 'the cache disk refused a write', { cause });
      void this.fail(error);
      throw error;
    });
    this.#flushes.add(done);
    const forget = (): void => {
      this.#flushes.delete(done);
    };
    done.then(forget, forget);
    return done;
  }

  #markWritten(from: number, to: number): void {
    this.#written.add(from, to);
    const recording = this.#partial.wrote(to - from, this.#size, this.#written);
    if (recording !== undefined) void this.#track(recording);
    if (this.#written.runEnd(0) - this.#hashedTo >= hashStepBytes) this.#hashWritten();
  }

  #markFilled(from: number, to: number): void {
    this.#filled.add(from, to);
    for (const waiter of this.#waiters) {
      if (waiter.position >= from && waiter.position < to) waiter.wake();
    }
  }

  async #lease(
    position: number,
    { start, end }: ByteRange,
    completes: boolean,
    seat: Seat,
  ): Promise<Lease | undefined> {
    for (;;) {
      if (this.#failure instanceof MirrorError && this.#failure.code === 'CONTENT_CORRUPT') {
        throw this.#failure;
      }
      const limit = completes && !this.isVerified ? Math.min(end, this.#heldBackFrom()) : end;
      const available = Math.min(this.#filled.runEnd(position), limit);
      if (available > position) {
        const isMoving = position - start >= movingBytes;
        return this.#open.lease(position, available, this.sizeBytes, isMoving, (from) =>
          this.#written.runEnd(from),
        );
      }
      if (this.#phase === 'failed') throw this.#failure;
      await this.#wait(position, seat);
      if (seat.isLeft) return undefined;
    }
  }

  /** One byte short is not complete; a few more keep the last write from being a lonely one. */
  #heldBackFrom(): number {
    return Math.max(0, this.sizeBytes - 4096);
  }

  #wait(position: number, seat: Seat): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = {
      position,
      wake: (): void => {
        this.#waiters.delete(waiter);
        resolve();
      },
    };
    this.#waiters.add(waiter);
    seat.wake = waiter.wake;
    this.onWaiting(position);
    return promise;
  }

  #wakeAll(): void {
    for (const waiter of this.#waiters) waiter.wake();
  }
}

/** The bytes that came are as good as any: only the rest did not come. */
function isOfUpstream(error: unknown): boolean {
  return isMirrorError(error, 'UPSTREAM_UNAVAILABLE') || isMirrorError(error, 'UPSTREAM_LIMITED');
}

/** Of at most one chunk, here and now. */
function hashedOf(digest: Digest, bytes: Uint8Array): Hashed {
  const hex = createHash(algorithmOf(digest)).update(bytes).digest('hex');
  return { hex, crcs: Uint32Array.from(bytes.length === 0 ? [] : [crc32(bytes)]) };
}

/** Where a reader waits, so that its `close` can end the wait. */
interface Seat {
  wake: () => void;
  isLeft: boolean;
}

class IngestReader implements Reader {
  readonly #open: OpenFile;
  readonly #end: number;
  readonly #lease: (position: number, seat: Seat) => Promise<Lease | undefined>;
  readonly #seat: Seat = { wake: () => {}, isLeft: false };
  #position: number;

  constructor(
    open: OpenFile,
    range: ByteRange,
    lease: (position: number, seat: Seat) => Promise<Lease | undefined>,
  ) {
    this.#open = open;
    this.#position = range.start;
    this.#end = range.end;
    this.#lease = lease;
    open.hold();
  }

  async next(): Promise<Lease | undefined> {
    if (this.#position >= this.#end || this.#seat.isLeft) return undefined;
    const lease = await this.#lease(this.#position, this.#seat);
    this.#position += lease?.bytes.length ?? 0;
    return lease;
  }

  close(): void {
    if (this.#seat.isLeft) return;
    this.#seat.isLeft = true;
    this.#seat.wake();
    this.#open.release();
  }
}

import path from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { ByteRange } from '../base/intervals.ts';
import { algorithmOf, type Digest } from '../oci/digest.ts';
import { MirrorError } from '../oci/errors.ts';
import type { BlobStore, StoredBlob, StoreUsage, WalkedBlob } from './blob-store.ts';
import type { ChunkCache } from './chunk-cache.ts';
import { Departures } from './departures.ts';
import { isMissing, type Disk } from './disk.ts';
import type { EvictionPolicy, Resident } from './eviction/eviction.ts';
import { digestOfPath, occupiedBytesOf, pathOfBlob } from './folder/layout.ts';
import type { Foreign } from './folder/scan.ts';
import { walkFolder } from './folder/walk-folder.ts';
import type { Hashing } from './hashing.ts';
import { Ingest } from './ingest.ts';
import { OpenBlobs } from './open-blobs.ts';
import { OpenFile } from './open-file.ts';
import { PartialFile } from './partial-file.ts';
import { Partials, type Partial } from './partials.ts';
import { Residents } from './residents.ts';
import { Space, type DiskBudget, type Reservation } from './space.ts';
import { OpenStoredBlob, type OpenBlob } from './stored-blob.ts';
import type { Checksums } from './verify/checksums.ts';
import type { Verifier } from './verify/verifier.ts';

export interface DiskBlobStoreParts {
  readonly folder: string;
  readonly disk: Disk;
  readonly cache: ChunkCache;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly observe: Observe;
  readonly budget: DiskBudget;
  readonly eviction: EvictionPolicy;
  readonly verifier: Verifier;
  /** Files that stay open for the next reader. */
  readonly openFilesMax?: number;
}

/**
 * Blobs as files:
 *
 *     <folder>/blobs/sha256/ab/<hex>     committed: whole, verified, synced
 *     <folder>/tmp/<n>                   arriving
 *     <folder>/partials/<n>              what came of one that was broken off
 *     <folder>/tmp-old/<time>/<n>        the same, of earlier processes
 *     <folder>/recency.db                when each was last used
 *
 * A committed file never changes. What the folder holds is the truth; the sizes and the order of use
 * in memory are a cache of it, filled in the background after the start.
 */
export class DiskBlobStore implements BlobStore {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #cache: ChunkCache;
  readonly #hashing: Hashing;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #verifier: Verifier;
  readonly #residents: Residents;
  readonly #space: Space;
  readonly #partials: Partials;
  readonly #shards = new Set<string>();
  readonly #open: OpenBlobs;
  readonly #departures: Departures;
  readonly #counted = Promise.withResolvers<void>();
  #isPinned: (digest: Digest) => boolean = () => false;
  #lastPartial = 0;

  constructor(parts: DiskBlobStoreParts) {
    const { folder, disk, clock, observe } = parts;
    this.#folder = folder;
    this.#disk = disk;
    this.#cache = parts.cache;
    this.#hashing = parts.hashing;
    this.#clock = clock;
    this.#observe = observe;
    this.#verifier = parts.verifier;
    this.#verifier.onCondemned = (digest) => this.#departures.forget(digest);
    this.#residents = new Residents({
      folder,
      clock,
      observe,
      policy: parts.eviction,
      budgetBytes: () => this.#space.budget.maxBytes,
    });
    this.#space = new Space({
      folder,
      disk,
      budget: parts.budget,
      eviction: this.#residents.eviction,
      mustStay: (digest) => this.#mustStay(digest),
      remove: (residents) => this.#removeVictims(residents),
      counted: this.#counted.promise,
      heldBytes: () => parts.verifier.heldBytes,
      assumedBytes: this.#residents.lastStoredBytes ?? Infinity,
    });
    this.#partials = new Partials({ folder, disk, space: this.#space });
    this.#open = new OpenBlobs(disk, parts.cache, parts.verifier, parts.openFilesMax ?? 256);
    this.#departures = new Departures({
      folder,
      disk,
      open: this.#open,
      residents: this.#residents,
      verifier: this.#verifier,
    });
  }

  /** Stored, reserved for what is arriving, and on its way out. */
  get usedBytes(): number {
    return this.#space.usedBytes;
  }

  /** What the store holds and may hold. @throws MirrorError DISK_FAILED when the disk does not answer */
  async usage(): Promise<StoreUsage> {
    const { freeBytes, totalBytes } = await this.#disk
      .space(this.#folder)
      .catch((cause: unknown) => {
        throw this.#diskFailed('statfs', 'the cache disk does not answer', cause);
      });
    return {
      usedBytes: this.#residents.eviction.usedBytes,
      reservedBytes: this.#space.reservedBytes,
      maxBytes: this.#space.budget.maxBytes,
      freeBytes,
      totalBytes,
      blobs: this.#residents.eviction.count,
      isCounted: this.#residents.isCounted,
      tiers: this.#residents.eviction.tiers,
    };
  }

  /** Another budget, from now on; what is over it goes with the next blob that arrives. */
  set budget(budget: DiskBudget) {
    this.#space.budget = budget;
  }

  /** Asked of each candidate for eviction: what is pinned is passed over. */
  keepPinned(isPinned: (digest: Digest) => boolean): void {
    this.#isPinned = isPinned;
  }

  async find(digest: Digest): Promise<StoredBlob | undefined> {
    const blob = await this.peek(digest);
    if (blob !== undefined) this.touch(digest);
    return blob;
  }

  async peek(digest: Digest): Promise<StoredBlob | undefined> {
    let blob = this.#open.find(digest);
    if (blob === undefined) blob = await this.#openBlob(digest);
    else blob.open.hold();
    return blob === undefined ? undefined : new OpenStoredBlob(digest, blob);
  }

  async has(digest: Digest): Promise<boolean> {
    if (this.#open.find(digest) !== undefined) return true;
    const blob = await this.#openBlob(digest);
    blob?.open.release();
    return blob !== undefined;
  }

  touch(digest: Digest): void {
    this.#residents.touch(digest);
  }

  usedMs(digest: Digest): number | undefined {
    return this.#residents.find(digest)?.usedMs;
  }

  resumable(digest: Digest): ByteRange | undefined {
    return this.#partials.missing(digest);
  }

  async ingest(digest: Digest, sizeBytes: number | undefined): Promise<Ingest> {
    const before = await this.#partials.take(digest, sizeBytes);
    const reservation = before?.reservation ?? (await this.#reserve(sizeBytes));
    let partial: PartialFile;
    try {
      partial = await this.#openPartial(digest, before, reservation);
    } catch (error) {
      if (before === undefined) reservation.settle();
      else await this.#partials.discard(before);
      throw error;
    }
    const open = new OpenFile(partial.file, this.#cache);
    const ingest = new Ingest({
      digest,
      sizeBytes,
      open,
      cache: this.#cache,
      startHash: () => this.#hashing.start(algorithmOf(digest), partial.file.fd),
      partial,
      filled: before?.filled ?? [],
      setAside: async (filled) => {
        if (!ingest.hasSize) return false;
        const record = { digest, sizeBytes: ingest.sizeBytes, filled };
        return this.#partials.setAside(partial, record, this.#clock.monotonicMs());
      },
      publish: (crcs) =>
        this.#publish(digest, { sizeBytes: ingest.sizeBytes, crcs }, partial, open),
    });
    ingest.committed.catch((error: unknown) => {
      if (error instanceof MirrorError && error.code === 'DISK_FAILED') {
        this.#observe({ kind: 'store-failed', operation: 'write', message: messageOf(error) });
      }
    });
    return ingest;
  }

  async remove(digest: Digest): Promise<void> {
    const known = this.#residents.find(digest);
    const [error] = await this.#departures.unlinkAll([digest]);
    if (error === undefined) return;
    if (known !== undefined) this.#residents.restore(known);
    throw this.#diskFailed('unlink', 'a blob could not be removed', error);
  }

  async *walk(): AsyncIterable<WalkedBlob> {
    for await (const { name, folder, sizeBytes, usedMs } of walkFolder(this.#blobsFolder)) {
      const digest = digestOfPath(path.join(folder, name));
      if (digest === undefined) continue;
      yield { digest, size: sizeBytes, usedMs: this.#residents.find(digest)?.usedMs ?? usedMs };
    }
  }

  /**
   * Counts what is on the disk, and takes over what earlier processes left half done. Hits are served
   * meanwhile; nothing is evicted before the count is known.
   * @param leftovers folders with files that were arriving
   */
  async settleIn(leftovers: readonly string[], signal: AbortSignal): Promise<void> {
    const startMs = performance.now();
    let foreign: Foreign = { foreignFiles: 0, foreign: [] };
    try {
      foreign = await this.#residents.count(signal);
    } catch (error) {
      if (signal.aborted) return;
      // What is not counted is found when it is asked for; minFree holds all the same.
      this.#diskFailed('count', 'the cache disk could not be counted', error);
    }
    const { count: blobs, usedBytes: sizeBytes } = this.#residents.eviction;
    this.#counted.resolve();
    const durationMs = performance.now() - startMs;
    const { removed, resumable } = await this.#partials.recover(
      leftovers,
      this.#clock.wallMs(),
      (digest) => this.has(digest),
    );
    this.#observe({
      kind: 'store-ready',
      blobs,
      sizeBytes,
      removedPartials: removed,
      resumablePartials: resumable,
      foreignFiles: foreign.foreignFiles,
      foreign: foreign.foreign,
      durationMs,
    });
  }

  /** Ends what runs in the background; what was used last is written down. */
  async close(): Promise<void> {
    this.#counted.resolve();
    await this.#space.close();
    this.#open.close();
    await this.#residents.close();
  }

  get #blobsFolder(): string {
    return path.join(this.#folder, 'blobs');
  }

  /** Answers it held once for the caller. */
  async #openBlob(digest: Digest): Promise<OpenBlob | undefined> {
    try {
      const blob = await this.#open.open(digest, pathOfBlob(this.#folder, digest));
      // It may have been removed since.
      if (blob !== undefined && this.#open.find(digest) === blob) {
        this.#residents.add(digest, blob.sizeBytes, blob.occupiedBytes);
      }
      return blob;
    } catch (error) {
      // A disk that cannot be read is a miss: the content still comes from upstream.
      if (!isMissing(error)) this.#diskFailed('open', 'a cached blob could not be opened', error);
      else this.#residents.forget(digest);
      return undefined;
    }
  }

  /** write (done) → fdatasync → rename → fsync of the folder: after a power cut, all of it or nothing. */
  async #publish(
    digest: Digest,
    checksums: Checksums,
    partial: PartialFile,
    open: OpenFile,
  ): Promise<void> {
    const target = pathOfBlob(this.#folder, digest);
    const folder = path.dirname(target);
    await partial.file.datasync();
    if (!this.#shards.has(folder)) {
      await this.#disk.makeFolder(folder);
      await this.#disk.syncFolder(path.dirname(folder));
      this.#shards.add(folder);
    }
    // Before the name: what is found under it can be checked.
    await this.#verifier.record(digest, checksums);
    // What goes under this name must not take the new file, or the count of it, along.
    await this.#departures.settled(digest);
    await partial.publish(target);
    this.#verifier.checkReadsOf(open, checksums);
    open.hold();
    const { sizeBytes } = checksums;
    const blob = { sizeBytes, occupiedBytes: occupiedBytesOf(sizeBytes), open };
    this.#open.keep(digest, blob);
    this.#residents.forget(digest);
    this.#residents.add(digest, blob.sizeBytes, blob.occupiedBytes);
    this.touch(digest);
    partial.reservation.settle();
    await this.#disk.syncFolder(folder);
  }

  /** Half-done downloads that nobody asks for give way to one that somebody does. */
  async #reserve(sizeBytes: number | undefined): Promise<Reservation> {
    try {
      return await this.#space.reserve(sizeBytes, 0);
    } catch (error) {
      const { maxBytes } = this.#space.budget;
      const mayEverFit = maxBytes === 0 || (sizeBytes ?? 0) <= maxBytes;
      if (mayEverFit && (await this.#partials.discardAll())) return this.#reserve(sizeBytes);
      this.#observe({ kind: 'store-failed', operation: 'reserve', message: messageOf(error) });
      throw error;
    }
  }

  async #openPartial(
    digest: Digest,
    before: Partial | undefined,
    reservation: Reservation,
  ): Promise<PartialFile> {
    this.#lastPartial += 1;
    const file = before?.path ?? path.join(this.#folder, 'tmp', String(this.#lastPartial));
    try {
      return new PartialFile({
        path: file,
        file: await this.#open.openFile(file, before === undefined ? 'wx+' : 'r+'),
        reservation,
        disk: this.#disk,
        clock: this.#clock,
        digest,
        hasRecord: before !== undefined,
      });
    } catch (cause) {
      throw this.#diskFailed('open', 'the cache disk refused a new file', cause);
    }
  }

  #mustStay(digest: Digest): boolean {
    return this.#isPinned(digest) || this.#open.isInUse(digest);
  }

  async #removeVictims(chosen: readonly Resident[]): Promise<void> {
    const residents: Resident[] = [];
    for (const resident of chosen) {
      // Since it was chosen, somebody may have begun to use it.
      if (!this.#mustStay(resident.digest)) residents.push(resident);
      else this.#residents.restore(resident);
    }
    const errors = await this.#departures.unlinkAll(residents.map(({ digest }) => digest));
    for (const [at, resident] of residents.entries()) {
      const error = errors[at];
      if (error === undefined) {
        const { digest, sizeBytes } = resident;
        this.#observe({ kind: 'evicted', digest, sizeBytes });
      } else {
        this.#residents.restore(resident);
        this.#diskFailed('unlink', 'a blob could not be evicted', error);
      }
    }
  }

  #diskFailed(operation: string, message: string, cause: unknown): MirrorError {
    const error = new MirrorError('DISK_FAILED', message, { cause });
    this.#observe({ kind: 'store-failed', operation, message: messageOf(error) });
    return error;
  }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

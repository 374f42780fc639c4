import path from 'node:path';
import { LRUCache } from 'lru-cache';
import type { Observe } from '../base/events.ts';
import type { ByteRange } from '../base/intervals.ts';
import { algorithmOf, encodedOf, findDigest, type Digest } from '../oci/digest.ts';
import { MirrorError } from '../oci/errors.ts';
import type { BlobStore, StoredBlob, StoreUsage } from './blob-store.ts';
import type { Lease, Reader } from '../base/reader.ts';
import { movingBytes, type ChunkCache } from './chunk-cache.ts';
import type { Disk, DiskFile } from './disk.ts';
import { LruEviction } from './eviction.ts';
import type { Hashing } from './hashing.ts';
import { Ingest } from './ingest.ts';
import { OpenFile } from './open-file.ts';
import { walkFolder } from './walk-folder.ts';

/** Open descriptors kept for the next reader; the rest of a usual limit of 1,024 is for sockets. */
const openFilesMax = 256;

/** The space that an ingest of unknown size reserves; the usual layer is smaller. */
const unknownSizeBytes = 64 * 1024 * 1024;

export interface DiskBudget {
  /** 0: only `minFreeBytes` counts. */
  readonly maxBytes: number;
  /** What must stay free on the file system, for a file system of this size. */
  readonly minFreeBytes: (totalBytes: number) => number;
  /** When the budget is reached, evict down to this share of it: 0 … 1. */
  readonly lowWatermark: number;
}

/**
 * Blobs as files:
 *
 *     <folder>/blobs/sha256/ab/<hex>     committed: whole, verified, synced
 *     <folder>/tmp/<n>                   arriving; thrown away at the next start
 *
 * A committed file never changes. What the folder holds is the truth; the sizes and the order of use
 * in memory are a cache of it, filled in the background after the start.
 */
export class DiskBlobStore implements BlobStore {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #cache: ChunkCache;
  readonly #hashing: Hashing;
  readonly #observe: Observe;
  readonly #budget: DiskBudget;
  readonly #eviction = new LruEviction();
  readonly #shards = new Set<string>();
  readonly #open: LRUCache<Digest, OpenBlob>;
  /** What is arriving, counted as used. */
  #reservedBytes = 0;
  #lastPartial = 0;
  #isScanned = false;

  constructor(parts: {
    readonly folder: string;
    readonly disk: Disk;
    readonly cache: ChunkCache;
    readonly hashing: Hashing;
    readonly observe: Observe;
    readonly budget: DiskBudget;
  }) {
    this.#folder = parts.folder;
    this.#disk = parts.disk;
    this.#cache = parts.cache;
    this.#hashing = parts.hashing;
    this.#observe = parts.observe;
    this.#budget = parts.budget;
    this.#open = new LRUCache({ max: openFilesMax, dispose: ({ open }) => open.release() });
  }

  get usedBytes(): number {
    return this.#eviction.usedBytes + this.#reservedBytes;
  }

  /** What the store holds and may hold. @throws MirrorError DISK_FAILED when the disk does not answer */
  async usage(): Promise<StoreUsage> {
    const { freeBytes, totalBytes } = await this.#disk
      .space(this.#folder)
      .catch((cause: unknown) => {
        throw this.#diskFailed('statfs', 'the cache disk does not answer', cause);
      });
    return {
      usedBytes: this.#eviction.usedBytes,
      reservedBytes: this.#reservedBytes,
      maxBytes: this.#budget.maxBytes,
      freeBytes,
      totalBytes,
      blobs: this.#eviction.count,
      isCounted: this.#isScanned,
    };
  }

  get openFiles(): number {
    return this.#open.size;
  }

  async find(digest: Digest): Promise<StoredBlob | undefined> {
    let blob = this.#open.get(digest);
    if (blob === undefined) blob = await this.#openBlob(digest);
    else blob.open.hold();
    if (blob === undefined) return undefined;
    this.#eviction.touch(digest);
    return new OpenStoredBlob(digest, blob);
  }

  async has(digest: Digest): Promise<boolean> {
    if (this.#open.has(digest)) return true;
    const blob = await this.#openBlob(digest);
    blob?.open.release();
    return blob !== undefined;
  }

  async ingest(digest: Digest, sizeBytes: number | undefined): Promise<Ingest> {
    const reservedBytes = sizeBytes ?? unknownSizeBytes;
    this.#lastPartial += 1;
    const partial = path.join(this.#folder, 'tmp', String(this.#lastPartial));
    // Before the first wait, so that those who begin together do not count on the same space.
    this.#reservedBytes += reservedBytes;
    let file: DiskFile;
    try {
      await this.#makeRoom(reservedBytes);
      file = await this.#openPartial(partial);
    } catch (error) {
      this.#reservedBytes -= reservedBytes;
      throw error;
    }
    const open = new OpenFile(file, this.#cache);
    const ingest = new Ingest({
      digest,
      sizeBytes,
      open,
      cache: this.#cache,
      startHash: () => this.#hashing.start(algorithmOf(digest), file.fd),
      publish: () => this.#publish(digest, ingest.sizeBytes, partial, open),
      discard: () => this.#disk.unlink(partial),
    });
    const settle = (): void => {
      this.#reservedBytes -= reservedBytes;
    };
    ingest.committed.then(settle, (error: unknown) => {
      settle();
      if (error instanceof MirrorError && error.code === 'DISK_FAILED') {
        this.#observe({ kind: 'store-failed', operation: 'write', message: messageOf(error) });
      }
    });
    return ingest;
  }

  async remove(digest: Digest): Promise<void> {
    this.#eviction.forget(digest);
    this.#open.delete(digest);
    await this.#disk.unlink(this.#pathOf(digest)).catch((error: unknown) => {
      if (!isMissing(error)) throw this.#diskFailed('unlink', 'a blob could not be removed', error);
    });
  }

  async *walk(): AsyncIterable<{ digest: Digest; size: number }> {
    for await (const { name, folder, sizeBytes } of walkFolder(path.join(this.#folder, 'blobs'))) {
      const algorithm = path.basename(path.dirname(folder));
      const digest = findDigest(`${algorithm}:${name}`);
      if (digest !== undefined) yield { digest, size: sizeBytes };
    }
  }

  /** Counts what is on the disk. Hits are served meanwhile; nothing is evicted before it ends. */
  async scan(removedPartials: number): Promise<void> {
    const startMs = performance.now();
    let foreignFiles = 0;
    const found: { digest: Digest; sizeBytes: number; usedMs: number }[] = [];
    for await (const entry of walkFolder(path.join(this.#folder, 'blobs'))) {
      const digest = findDigest(`${path.basename(path.dirname(entry.folder))}:${entry.name}`);
      if (digest === undefined) foreignFiles += 1;
      else found.push({ digest, sizeBytes: entry.sizeBytes, usedMs: entry.usedMs });
    }
    found.sort((a, b) => a.usedMs - b.usedMs);
    for (const { digest, sizeBytes } of found) {
      if (!this.#open.has(digest)) this.#eviction.admit(digest, sizeBytes);
    }
    this.#isScanned = true;
    this.#observe({
      kind: 'store-ready',
      blobs: this.#eviction.count,
      sizeBytes: this.#eviction.usedBytes,
      removedPartials,
      foreignFiles,
      durationMs: performance.now() - startMs,
    });
  }

  close(): void {
    this.#open.clear();
  }

  /** Answers it held once for the caller. */
  async #openBlob(digest: Digest): Promise<OpenBlob | undefined> {
    let file: DiskFile;
    try {
      file = await this.#disk.open(this.#pathOf(digest), 'r');
    } catch (error) {
      // A disk that cannot be read is a miss: the content still comes from upstream.
      if (!isMissing(error)) this.#diskFailed('open', 'a cached blob could not be opened', error);
      return undefined;
    }
    try {
      const { sizeBytes, isFile } = await file.stat();
      if (!isFile) throw new Error(`${digest} is not a plain file`);
      const raced = this.#open.get(digest);
      if (raced !== undefined) {
        raced.open.hold();
        await file.close();
        return raced;
      }
      const open = new OpenFile(file, this.#cache);
      open.hold();
      return this.#keepOpen(digest, sizeBytes, open);
    } catch (error) {
      this.#diskFailed('stat', 'a cached blob could not be opened', error);
      await file.close().catch(() => {});
      return undefined;
    }
  }

  #keepOpen(digest: Digest, sizeBytes: number, open: OpenFile): OpenBlob {
    const blob = { sizeBytes, open };
    this.#open.set(digest, blob);
    this.#eviction.admit(digest, sizeBytes);
    return blob;
  }

  /** write (done) → fdatasync → rename → fsync of the folder: after a power cut, all of it or nothing. */
  async #publish(
    digest: Digest,
    sizeBytes: number,
    partial: string,
    open: OpenFile,
  ): Promise<void> {
    const target = this.#pathOf(digest);
    const folder = path.dirname(target);
    await open.file.datasync();
    if (!this.#shards.has(folder)) {
      await this.#disk.makeFolder(folder);
      await this.#disk.syncFolder(path.dirname(folder));
      this.#shards.add(folder);
    }
    await this.#disk.rename(partial, target);
    open.hold();
    this.#keepOpen(digest, sizeBytes, open);
    await this.#disk.syncFolder(folder);
  }

  async #openPartial(path: string): Promise<DiskFile> {
    try {
      return await this.#disk.open(path, 'wx+');
    } catch (cause) {
      throw this.#diskFailed('open', 'the cache disk refused a new file', cause);
    }
  }

  /**
   * Evicts until what is reserved fits; evicts nothing when it cannot be made to fit.
   * @throws MirrorError DISK_FAILED
   */
  async #makeRoom(needBytes: number): Promise<void> {
    const overBytes = await this.#bytesOverBudget(needBytes);
    if (overBytes <= 0) return;
    const slackBytes = this.#budget.maxBytes * (1 - this.#budget.lowWatermark);
    const isInUse = (digest: Digest): boolean => this.#open.peek(digest)?.open.isRead === true;
    // Before the disk is counted, nobody knows what was used last.
    const victims = this.#isScanned ? this.#eviction.victims(overBytes + slackBytes, isInUse) : [];
    const freedBytes = victims.reduce((sum, digest) => sum + this.#eviction.sizeOf(digest), 0);
    if (freedBytes < overBytes) {
      throw this.#diskFailed(
        'reserve',
        `no space for ${needBytes} bytes within storage.maxSize and storage.minFree; the content is passed through uncached`,
        undefined,
      );
    }
    for (const digest of victims) {
      const sizeBytes = this.#eviction.sizeOf(digest);
      await this.remove(digest);
      this.#observe({ kind: 'evicted', digest, sizeBytes });
    }
  }

  /** How much what is stored and reserved exceeds the budget. */
  async #bytesOverBudget(needBytes: number): Promise<number> {
    const { maxBytes, minFreeBytes } = this.#budget;
    const { freeBytes, totalBytes } = await this.#disk
      .space(this.#folder)
      .catch((cause: unknown) => {
        throw this.#diskFailed('statfs', 'the cache disk does not answer', cause);
      });
    const overMax = maxBytes === 0 ? 0 : this.usedBytes - maxBytes;
    return Math.max(overMax, needBytes - (freeBytes - minFreeBytes(totalBytes)));
  }

  #pathOf(digest: Digest): string {
    const encoded = encodedOf(digest);
    return path.join(this.#folder, 'blobs', algorithmOf(digest), encoded.slice(0, 2), encoded);
  }

  #diskFailed(operation: string, message: string, cause: unknown): MirrorError {
    const error = new MirrorError('DISK_FAILED', message, { cause });
    this.#observe({ kind: 'store-failed', operation, message: messageOf(error) });
    return error;
  }
}

interface OpenBlob {
  readonly sizeBytes: number;
  readonly open: OpenFile;
}

class OpenStoredBlob implements StoredBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly #open: OpenFile;
  #isClosed = false;

  constructor(digest: Digest, { sizeBytes, open }: OpenBlob) {
    this.digest = digest;
    this.sizeBytes = sizeBytes;
    this.#open = open;
  }

  read(range: ByteRange): Reader {
    return new StoredReader(this.#open, this.sizeBytes, range);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#open.release();
  }
}

class StoredReader implements Reader {
  readonly #open: OpenFile;
  readonly #sizeBytes: number;
  readonly #range: ByteRange;
  #position: number;
  #isClosed = false;

  constructor(open: OpenFile, sizeBytes: number, range: ByteRange) {
    this.#open = open;
    this.#sizeBytes = sizeBytes;
    this.#range = range;
    this.#position = range.start;
    open.holdForReader();
  }

  async next(): Promise<Lease | undefined> {
    const { start, end } = this.#range;
    if (this.#position >= end || this.#isClosed) return undefined;
    const isMoving = this.#position - start >= movingBytes;
    const lease = await this.#open.lease(this.#position, end, this.#sizeBytes, isMoving, allOnDisk);
    this.#position += lease.bytes.length;
    return lease;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#open.releaseFromReader();
  }
}

function allOnDisk(): number {
  return Infinity;
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function messageOf(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

import { MirrorError } from '../oci/errors.ts';
import type { Lease } from '../base/reader.ts';
import { chunkBytes, type Chunk, type ChunkCache, type ChunkMap } from './chunk-cache.ts';
import type { DiskFile } from './disk.ts';

/**
 * An open blob file, shared by everybody who reads it and by the ingest that writes it. Counted: the
 * last holder's `release` closes the descriptor, so a file that was unlinked meanwhile stays readable.
 */
export class OpenFile {
  readonly file: DiskFile;
  readonly chunks: ChunkMap = new Map();
  readonly #cache: ChunkCache;
  readonly #loading = new Map<number, Promise<void>>();
  #holders = 1;
  /** Told when the last holder has released it. */
  onClosed: () => void = () => {};

  constructor(file: DiskFile, cache: ChunkCache) {
    this.file = file;
    this.#cache = cache;
  }

  /** Whether somebody beside its owner has it; such a file is no victim, for its blocks would stay. */
  get isShared(): boolean {
    return this.#holders > 1;
  }

  hold(): void {
    this.#holders += 1;
  }

  release(): void {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    this.#cache.drop(this.chunks);
    this.onClosed();
    // Nothing can be done about a failing close of a file that is only read, or already synced.
    this.file.close().catch(() => {});
  }

  /**
   * Bytes from `position` up to `available`, at most one chunk of them: from memory when they are
   * there, else from the disk.
   * @param isMoving whether the reader has taken `movingBytes`; one that has not may be given memory of
   *   its own, a smaller piece
   * @param onDiskTo where the run of bytes ends that begins at a position and is on the disk
   * @throws MirrorError DISK_FAILED
   */
  async lease(
    position: number,
    available: number,
    sizeBytes: number,
    isMoving: boolean,
    onDiskTo: (position: number) => number,
  ): Promise<Lease> {
    const index = Math.floor(position / chunkBytes);
    const base = index * chunkBytes;
    const length = Math.min(chunkBytes, sizeBytes - base);
    for (;;) {
      const held = this.#cache.hold(this.chunks, index, position - base, isMoving);
      if (held !== undefined) return this.#leaseOf(held, position - base, available - base);
      const loading = this.#loading.get(index);
      if (loading === undefined) break;
      await loading;
    }
    if (onDiskTo(base) >= base + length && this.#cache.mayPin(isMoving)) {
      const chunk = this.#cache.begin(this.chunks, index, 0, length);
      if (chunk !== undefined) {
        await this.#load(chunk, length);
        return this.#leaseOf(chunk, position - base, available - base);
      }
    }
    // Behind what is written, the file has holes that read as zeros.
    return this.#readSmall(position, Math.min(available, onDiskTo(position)));
  }

  /** Without shared memory: a small buffer that only this reader has. */
  async #readSmall(position: number, end: number): Promise<Lease> {
    const buffer = this.#cache.borrowSmall();
    const bytes = buffer.subarray(0, end - position);
    try {
      await this.#readExactly(bytes, position);
    } catch (error) {
      this.#cache.giveBackSmall(buffer);
      throw error;
    }
    let held = true;
    return {
      bytes,
      isShared: false,
      release: () => {
        if (held) this.#cache.giveBackSmall(buffer);
        held = false;
      },
    };
  }

  /** Readers of the same chunk wait for one read of it. */
  async #load(chunk: Chunk, length: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#loading.set(chunk.index, promise);
    try {
      await this.#readExactly(chunk.buffer.subarray(0, length), chunk.index * chunkBytes);
      chunk.to = length;
    } catch (error) {
      this.#cache.release(chunk);
      throw error;
    } finally {
      this.#loading.delete(chunk.index);
      resolve();
    }
  }

  async #readExactly(bytes: Uint8Array, position: number): Promise<void> {
    let count: number;
    try {
      count = await this.file.read(bytes, position);
    } catch (cause) {
      throw new MirrorError('DISK_FAILED', 'the cache disk failed while a blob was read', {
        cause,
      });
    }
    if (count === bytes.length) return;
    throw new MirrorError(
      'DISK_FAILED',
      `a cached file ends at byte ${position + count}, too early`,
    );
  }

  #leaseOf(chunk: Chunk, from: number, to: number): Lease {
    let held = true;
    return {
      bytes: chunk.buffer.subarray(from, Math.min(chunk.to, to)),
      isShared: true,
      release: () => {
        if (held) this.#cache.release(chunk);
        held = false;
      },
    };
  }
}

import { crc32 } from 'node:zlib';
import { MirrorError } from '../oci/errors.ts';
import type { Lease } from '../base/reader.ts';
import { chunkBytes, type Chunk, type ChunkCache, type ChunkMap } from './chunk-cache.ts';
import type { DiskFile } from './disk.ts';
import type { Checksums } from './verify/checksums.ts';

/**
 * An open blob file, shared by everybody who reads it and by the ingest that writes it. Counted: the
 * last holder's `release` closes the descriptor, so a file that was unlinked meanwhile stays readable.
 */
export class OpenFile {
  readonly file: DiskFile;
  readonly chunks: ChunkMap = new Map();
  readonly #cache: ChunkCache;
  readonly #loading = new Map<number, Promise<void>>();
  /** Chunks that were found right since the file was opened; small reads are not checked again. */
  readonly #sound = new Set<number>();
  #checksums: Checksums | undefined;
  #isWrong = false;
  /** Told once, before the read fails, that the file cannot be read or is not what was committed. */
  onWrong: (why: string) => void = () => {};
  #holders = 1;
  #closing: Promise<void> | undefined;
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

  /** Ends when the descriptor is closed, after the last holder has released it. */
  get closed(): Promise<void> | undefined {
    return this.#closing;
  }

  /** From now on what is read from the disk is checked. What is in memory has been. */
  checkBy(checksums: Checksums): void {
    this.#checksums = checksums;
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
    this.#closing = this.file.close().catch(() => {});
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
      await this.#checkChunkOf(position, buffer);
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
      const bytes = chunk.buffer.subarray(0, length);
      await this.#readExactly(bytes, chunk.index * chunkBytes);
      if (this.#checksums !== undefined) this.#compare(chunk.index, crc32(bytes), this.#checksums);
      chunk.to = length;
    } catch (error) {
      this.#cache.release(chunk);
      throw error;
    } finally {
      this.#loading.delete(chunk.index);
      resolve();
    }
  }

  /** Before a part of a chunk is given out, the whole of it is read once, piece by piece. */
  async #checkChunkOf(position: number, buffer: Uint8Array): Promise<void> {
    const checksums = this.#checksums;
    const index = Math.floor(position / chunkBytes);
    if (checksums === undefined || this.#sound.has(index)) return;
    const end = Math.min((index + 1) * chunkBytes, checksums.sizeBytes);
    let crc = 0;
    for (let at = index * chunkBytes; at < end; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, end - at));
      await this.#readExactly(piece, at);
      crc = crc32(piece, crc);
    }
    this.#compare(index, crc, checksums);
  }

  #compare(index: number, crc: number, { crcs }: Checksums): void {
    if (crcs[index] !== crc) {
      throw this.#wrong(`the bytes from ${index * chunkBytes} on have changed`);
    }
    this.#sound.add(index);
  }

  #wrong(why: string, cause?: unknown): MirrorError {
    if (!this.#isWrong) this.onWrong(why);
    this.#isWrong = true;
    return new MirrorError('DISK_FAILED', `a cached file is of no use: ${why}`, {
      cause,
    });
  }

  async #readExactly(bytes: Uint8Array, position: number): Promise<void> {
    let count: number;
    try {
      count = await this.file.read(bytes, position);
    } catch (cause) {
      throw this.#wrong('the cache disk failed while it was read', cause);
    }
    if (count === bytes.length) return;
    throw this.#wrong(`it ends at byte ${position + count}, too early`);
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

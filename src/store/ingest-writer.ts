import type { ByteRange } from '../base/intervals.ts';
import { MirrorError } from '../oci/errors.ts';
import { Chunk, chunkBytes, type ChunkCache } from './chunk-cache.ts';
import type { OpenFile } from './open-file.ts';

/** What a writer needs of the ingest that it fills. */
export interface WriterHost {
  size(): number | undefined;
  failure(): unknown;
  filled(from: number, to: number): void;
  written(from: number, to: number): void;
  /** Told of a write; answers the same, which rejects with what it means for the ingest. */
  flushing(flush: Promise<void>): Promise<void>;
  /** Answers a promise when writing up to here needs space that is not reserved yet. */
  cover(end: number): Promise<void> | undefined;
}

/** Writes that one writer has under way; more would only grow memory, the disk being the limit then. */
const flushesMax = 16;

/** Fills a blob from one position on. Bytes are readable as soon as `append` has taken them. */
export class IngestWriter {
  position: number;
  readonly #open: OpenFile;
  readonly #cache: ChunkCache;
  readonly #host: WriterHost;
  readonly #flushes = new Set<Promise<void>>();
  #chunk: Chunk | undefined;
  /** Whether the chunk is in the shared cache; one of our own is readable only when written. */
  #isShared = false;

  constructor(open: OpenFile, cache: ChunkCache, start: number, host: WriterHost) {
    this.#open = open;
    this.#cache = cache;
    this.position = start;
    this.#host = host;
  }

  /**
   * Takes all of `bytes` (copied: the caller may reuse them). Answers a promise when the disk is
   * behind, or space is to be made, to be awaited before the next call.
   * @throws MirrorError UPSTREAM_INVALID when there are more bytes than the announced size; DISK_FAILED;
   *   whatever ended the ingest
   */
  append(bytes: Uint8Array): Promise<void> | undefined {
    const failure = this.#host.failure();
    if (failure !== undefined) throw failure;
    const size = this.#host.size();
    if (size !== undefined && this.position + bytes.length > size) {
      throw new MirrorError(
        'UPSTREAM_INVALID',
        `upstream sent more than the ${size} bytes that it announced`,
      );
    }
    for (let taken = 0; taken < bytes.length;) {
      const chunk = (this.#chunk ??= this.#begin(size));
      const count = Math.min(bytes.length - taken, chunk.buffer.length - chunk.to);
      chunk.buffer.set(bytes.subarray(taken, taken + count), chunk.to);
      chunk.to += count;
      taken += count;
      this.position += count;
      if (this.#isShared) this.#host.filled(this.position - count, this.position);
      if (chunk.to === chunk.buffer.length || this.position === size) this.#flush();
    }
    const behind = this.#flushes.size >= flushesMax ? Promise.race(this.#flushes) : undefined;
    const covered = this.#host.cover(this.position);
    if (behind === undefined || covered === undefined) return behind ?? covered;
    return Promise.all([behind, covered]).then(() => {});
  }

  /** Writes what is still in memory; this writer is done. @throws MirrorError DISK_FAILED */
  async end(): Promise<void> {
    this.#flush();
    await Promise.all(this.#flushes);
  }

  #begin(size: number | undefined): Chunk {
    const index = Math.floor(this.position / chunkBytes);
    const from = this.position - index * chunkBytes;
    const length =
      size === undefined ? chunkBytes : Math.min(chunkBytes, size - index * chunkBytes);
    const shared = this.#cache.begin(this.#open.chunks, index, from, length);
    this.#isShared = shared !== undefined;
    if (shared !== undefined) shared.isDirty = true;
    return shared ?? new Chunk(Buffer.allocUnsafeSlow(length), index, new Map(), from);
  }

  #flush(): void {
    const chunk = this.#chunk;
    this.#chunk = undefined;
    if (chunk === undefined || chunk.to === chunk.from) return;
    const isShared = this.#isShared;
    const start = chunk.index * chunkBytes + chunk.from;
    const range = { start, end: start + chunk.to - chunk.from };
    const flush = this.#host.flushing(this.#write(chunk, range, isShared));
    this.#flushes.add(flush);
    const forget = (): void => {
      this.#flushes.delete(flush);
    };
    flush.then(forget, forget);
  }

  async #write(chunk: Chunk, range: ByteRange, isShared: boolean): Promise<void> {
    try {
      await this.#open.file.write(chunk.buffer.subarray(chunk.from, chunk.to), range.start);
      this.#host.written(range.start, range.end);
      if (!isShared) this.#host.filled(range.start, range.end);
    } finally {
      chunk.isDirty = false;
      if (isShared) this.#cache.release(chunk);
    }
  }
}

/**
 * A capped cache of file chunks in memory, shared by all readers and fills.
 *
 * Readers of one blob, and the clients that trail one fill, use the same bytes: a chunk is read from
 * the disk once (or not at all, when it has just arrived from upstream) however many clients it goes
 * to. A chunk that somebody holds stays; the others go, least recently used first.
 *
 *   free ──begin/load──▶ held (holders > 0) ──last release──▶ idle (in LRU order) ──▶ free
 */

/** A piece of a blob: large enough that a system call is cheap beside its copy. */
export const chunkBytes = 512 * 1024;

/** Memory for chunks: 96 of them. Beyond it readers use small buffers of their own. */
export const chunkCacheBytesDefault = 48 * 1024 * 1024;

/**
 * A client that has taken this much reads on: it is more than the buffers of its connection hold. Until
 * then it may be one that stops at once and pins what it holds for minutes.
 */
export const movingBytes = 16 * 1024 * 1024;

/** What a reader gets for itself when all chunk memory is held by others: the floor for one client. */
export const smallBufferBytes = 32 * 1024;

/** Small buffers kept for the next reader that needs one: 2 MiB. */
const smallFreeMax = 64;

/** The chunks of one file, by index. The file owns the map and drops it when it closes. */
export type ChunkMap = Map<number, Chunk>;

/** Bytes `from` to `to` of the buffer are valid; both grow only by whoever fills the chunk. */
export class Chunk {
  readonly buffer: Buffer;
  readonly index: number;
  readonly home: ChunkMap;
  from: number;
  to: number;
  holders = 1;
  /** Not on the disk yet: what is in here is nowhere else. */
  isDirty = false;

  constructor(buffer: Buffer, index: number, home: ChunkMap, from: number) {
    this.buffer = buffer;
    this.index = index;
    this.home = home;
    this.from = from;
    this.to = from;
  }
}

export class ChunkCache {
  readonly #capacityBytes: number;
  /** Idle chunks, the least recently used first. */
  readonly #idle = new Set<Chunk>();
  readonly #free: Buffer[] = [];
  readonly #smallFree: Buffer[] = [];
  #allocatedBytes = 0;
  #heldBytes = 0;

  constructor(capacityBytes: number = chunkCacheBytesDefault) {
    this.#capacityBytes = capacityBytes;
  }

  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /**
   * Whether more memory may be pinned. Half of it is for those that move (fills, and readers past
   * `movingBytes`), so that a thousand stalled clients leave it to them.
   */
  mayPin(isMoving: boolean): boolean {
    return isMoving || this.#heldBytes * 2 < this.#capacityBytes;
  }

  /**
   * The chunk, held, when it is in memory and holds `offset`, and may be pinned or is already. Release
   * it with `release`.
   */
  hold(home: ChunkMap, index: number, offset: number, isMoving = true): Chunk | undefined {
    const chunk = home.get(index);
    if (chunk === undefined || offset < chunk.from || offset >= chunk.to) return undefined;
    if (chunk.holders === 0) {
      if (!this.mayPin(isMoving)) return undefined;
      this.#idle.delete(chunk);
      this.#heldBytes += chunk.buffer.length;
    }
    chunk.holders += 1;
    return chunk;
  }

  /**
   * A new, empty chunk, held by the caller, who fills it from `from` on. Undefined when all memory is
   * held by others, or another writer's bytes of the same chunk are still on their way to the disk: the
   * caller then does without.
   */
  begin(home: ChunkMap, index: number, from: number, length: number): Chunk | undefined {
    const before = home.get(index);
    if (before?.isDirty === true) return undefined;
    // First, and once: what is let go to make room may be this very one, and memory that is freed twice
    // belongs to two. One that is held is freed by its last holder.
    if (before !== undefined && this.#idle.has(before)) this.#discard(before);
    const buffer = this.#allocate(length);
    if (buffer === undefined) return undefined;
    const chunk = new Chunk(buffer, index, home, from);
    this.#heldBytes += buffer.length;
    home.set(index, chunk);
    return chunk;
  }

  release(chunk: Chunk): void {
    chunk.holders -= 1;
    if (chunk.holders > 0) return;
    this.#heldBytes -= chunk.buffer.length;
    if (chunk.home.get(chunk.index) === chunk && chunk.to > chunk.from) this.#idle.add(chunk);
    else this.#discard(chunk);
  }

  /** A buffer of `smallBufferBytes` for one reader alone, outside the cap. */
  borrowSmall(): Buffer {
    return this.#smallFree.pop() ?? Buffer.allocUnsafeSlow(smallBufferBytes);
  }

  giveBackSmall(buffer: Buffer): void {
    if (this.#smallFree.length < smallFreeMax) this.#smallFree.push(buffer);
  }

  /** Forgets a file's chunks; those that somebody holds are freed by their last holder. */
  drop(home: ChunkMap): void {
    const chunks = [...home.values()];
    home.clear();
    for (const chunk of chunks) if (chunk.holders === 0) this.#discard(chunk);
  }

  #allocate(length: number): Buffer | undefined {
    const size = Math.min(length, chunkBytes);
    if (size === chunkBytes) {
      const free = this.#free.pop();
      if (free !== undefined) return free;
    }
    while (this.#allocatedBytes + size > this.#capacityBytes) {
      const freed = this.#free.pop();
      if (freed !== undefined) {
        this.#allocatedBytes -= freed.length;
        continue;
      }
      const [oldest] = this.#idle;
      if (oldest === undefined) return undefined;
      this.#discard(oldest);
      if (size === chunkBytes) {
        const reused = this.#free.pop();
        if (reused !== undefined) return reused;
      }
    }
    this.#allocatedBytes += size;
    return Buffer.allocUnsafeSlow(size);
  }

  #discard(chunk: Chunk): void {
    this.#idle.delete(chunk);
    if (chunk.home.get(chunk.index) === chunk) chunk.home.delete(chunk.index);
    if (chunk.buffer.length === chunkBytes) this.#free.push(chunk.buffer);
    else this.#allocatedBytes -= chunk.buffer.length;
  }
}

import { LRUCache } from 'lru-cache';
import type { Digest } from '../oci/digest.ts';
import type { ChunkCache } from './chunk-cache.ts';
import type { Disk, DiskFile } from './disk.ts';
import { occupiedBytesOf } from './folder/layout.ts';
import { OpenFile } from './open-file.ts';
import type { OpenBlob } from './stored-blob.ts';
import type { Verifier } from './verify/verifier.ts';

/** Of the process, and of the machine: open(2). */
const exhaustedCodes = new Set(['EMFILE', 'ENFILE']);

/** The blobs whose files are open: one descriptor each, for all who read it and for the next one. */
export class OpenBlobs {
  readonly #disk: Disk;
  readonly #cache: ChunkCache;
  readonly #verifier: Verifier;
  readonly #kept: LRUCache<Digest, OpenBlob>;
  /** There is no place for them any more, but somebody has them still. */
  readonly #lent = new Map<Digest, OpenBlob>();
  /** What is being opened; what has gone from its place since is opened anew. */
  readonly #opening = new Set<{ readonly digest: Digest; isStale: boolean }>();
  #closing: Promise<boolean> | undefined;

  /** @param filesMax that stay open for the next reader */
  constructor(disk: Disk, cache: ChunkCache, verifier: Verifier, filesMax: number) {
    this.#disk = disk;
    this.#cache = cache;
    this.#verifier = verifier;
    this.#kept = new LRUCache({
      max: filesMax,
      dispose: (blob, digest, reason) => {
        if (reason === 'evict' && blob.open.isShared) this.#lend(digest, blob);
        blob.open.release();
      },
    });
  }

  find(digest: Digest): OpenBlob | undefined {
    return this.#kept.get(digest) ?? this.#lent.get(digest);
  }

  isInUse(digest: Digest): boolean {
    return this.#lent.has(digest) || this.#kept.peek(digest)?.open.isShared === true;
  }

  /**
   * Opens a file, and answers it held once for the caller; undefined when it is not what was stored.
   * @throws Node's own error; Error when it is no plain file
   */
  async open(digest: Digest, path: string): Promise<OpenBlob | undefined> {
    await this.#verifier.settled(digest);
    const opening = { digest, isStale: false };
    this.#opening.add(opening);
    try {
      return await this.#open(opening, path);
    } finally {
      this.#opening.delete(opening);
    }
  }

  /** Where no more files may be open, those that nobody reads are closed for it. */
  async openFile(path: string, flags: 'r' | 'r+' | 'wx+'): Promise<DiskFile> {
    try {
      return await this.#disk.open(path, flags);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (!exhaustedCodes.has(code)) throw error;
      this.#closing ??= this.#closeIdle().finally(() => {
        this.#closing = undefined;
      });
      if (!(await this.#closing)) throw error;
      return this.#disk.open(path, flags);
    }
  }

  /** Takes over one hold of the file. */
  keep(digest: Digest, blob: OpenBlob): void {
    this.#kept.set(digest, blob);
    blob.open.onWrong = (why) => {
      // Whoever still reads a file that was replaced says nothing about the one in its place.
      if (this.find(digest) === blob) void this.#verifier.condemn(digest, why);
    };
  }

  /** Its file is not what is stored any more; those who have it go on. */
  forget(digest: Digest): void {
    for (const opening of this.#opening) opening.isStale ||= opening.digest === digest;
    this.#kept.delete(digest);
    this.#lent.delete(digest);
  }

  close(): void {
    this.#kept.clear();
  }

  async #open(
    opening: { readonly digest: Digest; readonly isStale: boolean },
    path: string,
  ): Promise<OpenBlob | undefined> {
    const { digest } = opening;
    const file = await this.openFile(path, 'r');
    let isKept = false;
    try {
      const { sizeBytes, allocatedBytes, isFile } = await file.stat();
      if (!isFile) throw new Error(`${digest} is not a plain file`);
      const open = new OpenFile(file, this.#cache);
      if (!(await this.#verifier.inspect(digest, sizeBytes, open))) return undefined;
      if (opening.isStale) return await this.open(digest, path);
      const raced = this.find(digest);
      const blob = raced ?? {
        sizeBytes,
        occupiedBytes: occupiedBytesOf(sizeBytes, allocatedBytes),
        open,
      };
      blob.open.hold();
      isKept = raced === undefined;
      if (isKept) this.keep(digest, blob);
      return blob;
    } finally {
      // It was only read: whatever the close says, the descriptor is gone.
      if (!isKept) await file.close().catch(() => {});
    }
  }

  /** Whether there was one. */
  async #closeIdle(): Promise<boolean> {
    const idle = [...this.#kept].filter(([, { open }]) => !open.isShared);
    for (const [digest] of idle) this.#kept.delete(digest);
    for (const [, { open }] of idle) await open.closed;
    return idle.length > 0;
  }

  #lend(digest: Digest, blob: OpenBlob): void {
    this.#lent.set(digest, blob);
    blob.open.onClosed = () => {
      if (this.#lent.get(digest) === blob) this.#lent.delete(digest);
    };
  }
}

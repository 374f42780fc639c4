import path from 'node:path';
import type { Observe } from '../../base/events.ts';
import { findDigest, type Digest } from '../../oci/digest.ts';
import { chunkBytes } from '../chunk-cache.ts';
import { SqliteKeyv } from '../sqlite-keyv.ts';

/** Keys that one transaction removes. */
const pruneBatch = 500;

/** What a stored blob was when its digest was found right. */
export interface Checksums {
  readonly sizeBytes: number;
  /** CRC-32 of each chunk of `chunkBytes`, the last one shorter; none for an empty blob. */
  readonly crcs: Uint32Array;
}

/**
 * The sizes and checksums of committed blobs, in `checksums.db`: what a read is checked against at
 * 6 GB/s, where the digest would cost 2 GB/s and the whole file. 8 bytes a MiB. A cache of the disk:
 * what is missing is served unchecked until the next scrub has read it.
 */
export class ChecksumTable {
  readonly #table: SqliteKeyv;
  readonly #observe: Observe;

  constructor(options: { readonly folder: string; readonly observe: Observe }) {
    this.#observe = options.observe;
    this.#table = this.#open(path.join(options.folder, 'checksums.db'));
  }

  /** Undefined when it is not known, or was made with another size of chunks. */
  async find(digest: Digest): Promise<Checksums | undefined> {
    try {
      const text = await this.#table.get<string>(digest);
      return typeof text === 'string' ? parse(text) : undefined;
    } catch (error) {
      this.#failed('find', error);
      return undefined;
    }
  }

  async put(digest: Digest, { sizeBytes, crcs }: Checksums): Promise<void> {
    const bytes = Buffer.from(crcs.buffer, crcs.byteOffset, crcs.byteLength);
    try {
      await this.#table.set(digest, `${chunkBytes} ${sizeBytes} ${bytes.toString('base64')}`);
    } catch (error) {
      this.#failed('put', error);
    }
  }

  /** Forgets what is not stored any more; right again, should it come back. @returns how many */
  async prune(isStored: (digest: Digest) => Promise<boolean>): Promise<number> {
    let pruned = 0;
    let gone: string[] = [];
    const flush = async (): Promise<void> => {
      pruned += gone.length;
      await this.#table.deleteMany(gone);
      gone = [];
    };
    try {
      for await (const [key] of this.#table.entries('')) {
        const digest = findDigest(key);
        if (digest === undefined || !(await isStored(digest))) gone.push(key);
        if (gone.length >= pruneBatch) await flush();
      }
      await flush();
    } catch (error) {
      this.#failed('prune', error);
    }
    return pruned;
  }

  close(): Promise<void> {
    return this.#table.disconnect();
  }

  #open(file: string): SqliteKeyv {
    try {
      return new SqliteKeyv(file, (aside) => {
        this.#failed('open', new Error(`${file} was unreadable; it is put aside as ${aside}`));
      });
    } catch (error) {
      this.#failed('open', error);
      return new SqliteKeyv(':memory:');
    }
  }

  #failed(operation: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#observe({ kind: 'store-failed', operation: `checksums ${operation}`, message });
  }
}

function parse(text: string): Checksums | undefined {
  const [chunk, size, base64 = ''] = text.split(' ');
  const sizeBytes = Number(size);
  const bytes = Buffer.from(base64, 'base64');
  const isWhole = bytes.length === 4 * Math.ceil(sizeBytes / chunkBytes);
  if (Number(chunk) !== chunkBytes || !isWhole) return undefined;
  return { sizeBytes, crcs: new Uint32Array(new Uint8Array(bytes).buffer) };
}

import type { ByteRange } from '../base/intervals.ts';
import type { Lease, Reader } from '../base/reader.ts';
import type { Digest } from '../oci/digest.ts';
import type { StoredBlob } from './blob-store.ts';
import { movingBytes } from './chunk-cache.ts';
import type { OpenFile } from './open-file.ts';

/** A committed blob whose file is open, shared by all who have it. */
export interface OpenBlob {
  readonly sizeBytes: number;
  /** What it takes of the disk. */
  readonly occupiedBytes: number;
  readonly open: OpenFile;
}

/** One holder's share of an open blob. */
export class OpenStoredBlob implements StoredBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly #open: OpenFile;
  #isClosed = false;

  /** Takes over one hold of the file, which `close` releases. */
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
    open.hold();
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
    this.#open.release();
  }
}

function allOnDisk(): number {
  return Infinity;
}

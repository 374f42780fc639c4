import { createHash, type Hash } from 'node:crypto';
import type { ByteRange } from '../base/intervals.ts';
import { algorithmOf, encodedOf, type Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import type { StoredBlob } from '../store/blob-store.ts';
import type { Lease, Reader } from '../base/reader.ts';
import type { BlobBody } from '../upstream/upstream.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';
import { afterFailure, asUpstreamError, pause } from './retry.ts';
import type { Suspects } from './suspects.ts';

/** What is withheld of a whole body until its digest is known to be right. */
const heldBackBytes = 4096;

/** Of whom a blob is read, and what is known of it. */
export interface Source {
  readonly from: MirroredUpstream;
  /** Of the repository, there. */
  readonly name: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly suspects: Suspects;
}

/**
 * A blob straight from upstream, uncached: for when the disk cannot take it. A cache that cannot
 * cache is still a proxy. Each reader costs a transfer of its own.
 */
export function passThrough(source: Source): StoredBlob {
  const { digest, sizeBytes } = source;
  return {
    digest,
    sizeBytes,
    read: (range) => new PassThroughReader(source, range),
    close: () => {},
  };
}

/**
 * Content whose readers go on elsewhere when the disk fails under them or holds what was not stored,
 * from the byte where it failed: from what `reopen` answers, or else from upstream.
 */
export function steadfast(
  content: StoredBlob,
  source: Omit<Source, 'digest' | 'sizeBytes'>,
  reopen: () => Promise<StoredBlob | undefined>,
): StoredBlob {
  const { digest, sizeBytes } = content;
  const goOn = async (rest: ByteRange, isWhole: boolean): Promise<Reader> => {
    const again = await reopen();
    if (again !== undefined) return rereading(again, rest, isWhole);
    return new PassThroughReader({ ...source, digest, sizeBytes }, rest, isWhole);
  };
  return {
    digest,
    sizeBytes,
    read: (range) => new SteadfastReader(content.read(range), range, goOn),
    close: () => content.close(),
  };
}

/**
 * The rest of content that is opened once more. Of a whole it is read from byte 0, and what the client
 * has is passed over: so its last bytes wait for the digest, if it is still arriving.
 */
function rereading(content: StoredBlob, rest: ByteRange, isWhole: boolean): Reader {
  const reader = content.read({ start: isWhole ? 0 : rest.start, end: rest.end });
  let skipBytes = isWhole ? rest.start : 0;
  return {
    next: async () => {
      for (;;) {
        const lease = await reader.next();
        if (lease === undefined || skipBytes === 0) return lease;
        const { bytes } = lease;
        const skipped = Math.min(skipBytes, bytes.length);
        skipBytes -= skipped;
        if (skipped < bytes.length) return { ...lease, bytes: bytes.subarray(skipped) };
        lease.release();
      }
    },
    close: () => {
      reader.close();
      content.close();
    },
  };
}

class SteadfastReader implements Reader {
  readonly #range: ByteRange;
  readonly #goOn: (rest: ByteRange, isWhole: boolean) => Promise<Reader>;
  #reader: Reader;
  #position: number;
  #hasFallen = false;
  #isClosed = false;

  constructor(
    reader: Reader,
    range: ByteRange,
    goOn: (rest: ByteRange, isWhole: boolean) => Promise<Reader>,
  ) {
    this.#reader = reader;
    this.#range = range;
    this.#position = range.start;
    this.#goOn = goOn;
  }

  async next(): Promise<Lease | undefined> {
    let lease: Lease | undefined;
    try {
      lease = await this.#reader.next();
    } catch (error) {
      if (this.#hasFallen || !isMirrorError(error, 'DISK_FAILED')) throw error;
      this.#hasFallen = true;
      this.#reader.close();
      const rest = { start: this.#position, end: this.#range.end };
      const reader = await this.#goOn(rest, this.#range.start === 0);
      this.#reader = reader;
      if (this.#isClosed) {
        reader.close();
        return undefined;
      }
      lease = await reader.next();
    }
    this.#position += lease?.bytes.length ?? 0;
    return lease;
  }

  close(): void {
    this.#isClosed = true;
    this.#reader.close();
  }
}

/**
 * Reads from upstream. When the client will hold the whole (it began at 0, or may have been cut off
 * from wrong bytes), everything is hashed, from byte 0 even if the client has the beginning already: the
 * last bytes go out only when it is right.
 */
class PassThroughReader implements Reader {
  readonly #source: Source;
  readonly #range: ByteRange;
  readonly #abort = new AbortController();
  /** Of the whole; undefined for a part, which completes nothing. */
  readonly #hash: Hash | undefined;
  #body: BlobBody | undefined;
  #chunks: AsyncIterator<Buffer> | undefined;
  /** The next byte that upstream brings. */
  #position: number;
  #pending: Buffer = Buffer.alloc(0);
  #attempts = 0;

  constructor(source: Source, range: ByteRange, isWhole: boolean = range.start === 0) {
    this.#source = source;
    this.#range = range;
    const { digest, sizeBytes, suspects } = source;
    const completes = range.end === sizeBytes && (isWhole || suspects.has(digest));
    this.#hash = completes ? createHash(algorithmOf(digest)) : undefined;
    this.#position = completes ? 0 : range.start;
  }

  async next(): Promise<Lease | undefined> {
    for (;;) {
      const bytes = this.#pending;
      const isAllHere = this.#position >= this.#range.end;
      const keep = this.#hash === undefined || isAllHere ? 0 : heldBackBytes;
      if (bytes.length > keep) {
        this.#pending = bytes.subarray(bytes.length - keep);
        const ready = bytes.subarray(0, bytes.length - keep);
        return { bytes: ready, isShared: false, release: () => {} };
      }
      if (isAllHere) return undefined;
      await this.#readMore();
    }
  }

  close(): void {
    this.#abort.abort(new MirrorError('CANCELLED', 'the client has left'));
    this.#body?.body.destroy();
  }

  async #readMore(): Promise<void> {
    let chunk: Buffer | undefined;
    try {
      chunk = await this.#nextChunk();
      if (chunk === undefined) throw new Error('upstream closed the connection too early');
    } catch (cause) {
      this.#abort.signal.throwIfAborted();
      this.#body = undefined;
      this.#chunks = undefined;
      this.#attempts += 1;
      const error = asUpstreamError(cause);
      const decision = afterFailure(error, this.#attempts);
      if (decision.do === 'give up') throw error;
      await pause(decision.afterMs, this.#abort.signal);
      return;
    }
    this.#attempts = 0;
    this.#take(chunk);
    const { bandwidth } = this.#source.from.fill;
    await bandwidth?.take(chunk.length, () => 'client', this.#abort.signal);
  }

  async #nextChunk(): Promise<Buffer | undefined> {
    if (this.#chunks === undefined) {
      const { start, end } = { start: this.#position, end: this.#range.end };
      const { from, name, digest, sizeBytes, suspects } = this.#source;
      const isWhole = start === 0 && end === sizeBytes;
      const { signal } = this.#abort;
      const wanted = isWhole ? undefined : { start, end };
      this.#body = await from.upstream.fetchBlob(name, digest, wanted, { signal });
      suspects.sentBy(digest, this.#body.distrust);
      this.#chunks = (this.#body.body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
      // An upstream that ignores the range sends what came before once more.
      for (let skip = start - this.#body.start; skip > 0;) {
        const chunk = await this.#nextOfBody(this.#chunks);
        if (chunk === undefined || chunk.length > skip) return chunk?.subarray(skip);
        skip -= chunk.length;
      }
    }
    return this.#nextOfBody(this.#chunks);
  }

  /** Silence ends it; how much a slow client takes is no fault of upstream, so only this wait counts. */
  async #nextOfBody(chunks: AsyncIterator<Buffer>): Promise<Buffer | undefined> {
    const { idleTimeoutMs } = this.#source.from.fill;
    const timer = setTimeout(() => {
      this.#body?.body.destroy(new Error(`upstream sent nothing for ${idleTimeoutMs} ms`));
    }, idleTimeoutMs);
    try {
      const { value, done } = await chunks.next();
      return done === true ? undefined : value;
    } finally {
      clearTimeout(timer);
    }
  }

  #take(chunk: Buffer): void {
    const wanted = chunk.subarray(0, Math.min(chunk.length, this.#range.end - this.#position));
    this.#hash?.update(wanted);
    const from = Math.max(0, this.#range.start - this.#position);
    this.#position += wanted.length;
    if (from < wanted.length) this.#pending = Buffer.concat([this.#pending, wanted.subarray(from)]);
    if (this.#position < this.#range.end) return;
    this.#body?.body.destroy();
    const { digest, suspects } = this.#source;
    if (this.#hash === undefined || this.#hash.digest('hex') === encodedOf(digest)) return;
    suspects.add(digest);
    throw new MirrorError(
      'CONTENT_CORRUPT',
      `the content that upstream sent for ${digest} is wrong`,
    );
  }
}

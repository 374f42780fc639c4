import type { Clock } from '../base/clock.ts';
import type { Ingest } from '../store/ingest.ts';
import type { BlobBody } from '../upstream/upstream.ts';
import type { Segment } from './segments.ts';

/** A connection is measured this long before anything is concluded from its speed. */
const measureMs = 150;

/** What a connection must bring to be kept. */
export interface LanePace {
  /** Silence for longer than this breaks it. */
  readonly idleTimeoutMs: number;
  /** So does less than this, over `idleTimeoutMs`. */
  readonly minBytesPerSecond: number;
}

/** One connection that brings one segment of a blob: it moves bytes, is measured, and can be broken. */
export class Lane {
  readonly segment: Segment;
  readonly #body: BlobBody;
  readonly #ingest: Ingest;
  readonly #clock: Clock;
  readonly #pace: (bytes: number) => Promise<void> | undefined;
  readonly #startMs: number;
  #bytes = 0;
  #lastByteMs: number;
  #windowStartMs: number;
  #windowBytes = 0;
  /** It waits for the disk or the bandwidth limit, so upstream is not to blame for silence. */
  #isHeld = false;
  #isWaitingForDisk = false;
  #isLeaving = false;
  #diskMs = 0;

  constructor(parts: {
    readonly segment: Segment;
    readonly body: BlobBody;
    readonly ingest: Ingest;
    readonly clock: Clock;
    /** Told of bytes that have come; answers when more may, when that is not now. */
    readonly pace: (bytes: number) => Promise<void> | undefined;
  }) {
    this.segment = parts.segment;
    this.#body = parts.body;
    this.#ingest = parts.ingest;
    this.#clock = parts.clock;
    this.#pace = parts.pace;
    this.#startMs = parts.clock.monotonicMs();
    this.#lastByteMs = this.#startMs;
    this.#windowStartMs = this.#startMs;
  }

  /** What this connection has brought, what is thrown away included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** It was told to leave. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** Its body goes to the end of the blob, however near the end of its segment came. */
  get isOpenEnded(): boolean {
    return this.#body.isOpenEnded;
  }

  get isMeasured(): boolean {
    return !this.#isWaitingForDisk && this.#clock.monotonicMs() - this.#startMs >= measureMs;
  }

  /**
   * Bytes a second since it began, without the time in which the disk could not follow: what the link
   * gives. Never 0.
   */
  get rate(): number {
    const seconds = (this.#clock.monotonicMs() - this.#startMs - this.#diskMs) / 1000;
    return Math.max(1, this.#bytes / Math.max(seconds, 0.001));
  }

  /**
   * Moves the body into the file, as far as the segment goes; its end may come nearer meanwhile.
   * Returns when that is reached, the body ends, or it shall leave; throws when the body or the disk breaks.
   */
  async pump(): Promise<void> {
    const { segment } = this;
    const { body, start } = this.#body;
    const writer = this.#ingest.writer(segment.position);
    // An upstream that ignores the range sends what is here already once more.
    let skip = segment.position - start;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        this.#count(chunk.length);
        const from = Math.min(skip, chunk.length);
        skip -= from;
        const take = Math.min(chunk.length - from, segment.end - segment.position);
        const behind = writer.append(chunk.subarray(from, from + take));
        segment.position = writer.position;
        const limited = this.#pace(chunk.length);
        if (behind !== undefined || limited !== undefined) await this.#hold(behind, limited);
        if (segment.position >= segment.end || this.#isLeaving) break;
      }
      // Without an announced size, the clean end of the body is the size.
      if (segment.end === Infinity && !this.#isLeaving) {
        segment.end = segment.position;
        this.#ingest.setSize(segment.position);
      }
    } finally {
      body.destroy();
      await writer.end();
    }
  }

  /** Breaks a connection that is silent, or slower than the least that is worth keeping. */
  watch({ idleTimeoutMs, minBytesPerSecond }: LanePace): void {
    const now = this.#clock.monotonicMs();
    if (this.#isHeld) return;
    if (now - this.#lastByteMs > idleTimeoutMs) {
      this.#giveUp(`upstream sent nothing for ${idleTimeoutMs} ms`);
      return;
    }
    const windowMs = now - this.#windowStartMs;
    if (windowMs < idleTimeoutMs) return;
    if (this.#windowBytes < (minBytesPerSecond * windowMs) / 1000) {
      this.#giveUp(`upstream sent less than ${minBytesPerSecond} bytes a second`);
    }
    this.#windowStartMs = now;
    this.#windowBytes = 0;
  }

  /** Ends the connection with the bytes that have come; somebody goes on from there later. */
  leave(): void {
    this.#isLeaving = true;
  }

  break(why: string): void {
    this.#body.body.destroy(new Error(why));
  }

  /** The rest is asked of another URL first, where there is one. */
  #giveUp(why: string): void {
    this.#body.distrust();
    this.break(why);
  }

  /** Waits for the disk and for the bandwidth limit, in time that does not count as upstream's. */
  async #hold(disk: Promise<void> | undefined, limit: Promise<void> | undefined): Promise<void> {
    const sinceMs = this.#clock.monotonicMs();
    this.#isHeld = true;
    this.#isWaitingForDisk = disk !== undefined;
    const written = disk?.then(() => {
      this.#isWaitingForDisk = false;
      this.#diskMs += this.#clock.monotonicMs() - sinceMs;
    });
    await Promise.all([written, limit]);
    this.#isHeld = false;
    const heldMs = this.#clock.monotonicMs() - sinceMs;
    this.#lastByteMs += heldMs;
    this.#windowStartMs += heldMs;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#windowBytes += bytes;
    this.#lastByteMs = this.#clock.monotonicMs();
  }
}

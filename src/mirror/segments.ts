import type { ByteRange } from '../base/intervals.ts';
import { Intervals } from '../base/intervals.ts';

/** A part of a blob that one connection fetches; `end` may come nearer while it runs. */
export interface Segment {
  readonly start: number;
  end: number;
  /** The next byte that this connection brings. */
  position: number;
}

/** Small enough that a waiting reader gets a connection soon, large enough that a round trip is cheap. */
const segmentBytesMin = 2 * 1024 * 1024;
const segmentBytesMax = 16 * 1024 * 1024;

/**
 * Who fetches what of one blob. Pure bookkeeping: segments are handed out so that no byte is asked for
 * twice, what a reader waits for first, then from the front, where a client reads next.
 */
export class Segments {
  readonly #sizeBytes: number;
  readonly #connections: number;
  readonly #alignBytes: number;
  readonly #running = new Set<Segment>();
  /** Fetched, or being fetched by a running segment. */
  readonly #claimed = new Intervals();

  /**
   * @param alignBytes segments begin at multiples of this
   * @param filled what is here already
   */
  constructor(
    sizeBytes: number,
    connections: number,
    alignBytes: number,
    filled: readonly ByteRange[] = [],
  ) {
    this.#sizeBytes = sizeBytes;
    this.#connections = connections;
    this.#alignBytes = alignBytes;
    for (const { start, end } of filled) this.#claimed.add(start, end);
  }

  get running(): ReadonlySet<Segment> {
    return this.#running;
  }

  /** The first gap, all of it; undefined when there is none. */
  takeAll(): Segment | undefined {
    const gap = this.#claimed.gapFrom(0, this.#sizeBytes);
    return gap === undefined ? undefined : this.#claim(gap.start, gap.end);
  }

  /** Lets a running segment go on through what nobody else fetches behind it. */
  extend(segment: Segment): void {
    const gap = this.#claimed.gapFrom(segment.end, this.#sizeBytes);
    if (gap?.start !== segment.end) return;
    this.#claimed.add(gap.start, gap.end);
    segment.end = gap.end;
  }

  /**
   * The next segment that nobody fetches; undefined when there is none.
   * @param wanted positions that readers wait for
   */
  take(wanted: readonly number[]): Segment | undefined {
    for (const position of wanted) {
      const gap = this.#claimed.gapFrom(position, this.#sizeBytes);
      if (gap?.start === position) return this.#claimFrom(this.#alignedIn(position), gap.end);
    }
    const gap = this.#claimed.gapFrom(0, this.#sizeBytes);
    return gap === undefined ? undefined : this.#claimFrom(gap.start, gap.end);
  }

  /** Takes the part at `position` away from the connection that would reach it much later. */
  takeAhead(position: number): Segment | undefined {
    const start = this.#alignDown(position);
    for (const segment of this.#running) {
      if (start <= segment.position || start >= segment.end) continue;
      const { end } = segment;
      this.#shorten(segment, start);
      return this.#claimFrom(start, end);
    }
    const gap = this.#claimed.gapFrom(position, this.#sizeBytes);
    return gap?.start === position
      ? this.#claimFrom(this.#alignedIn(position), gap.end)
      : undefined;
  }

  /** The running segment that will bring `position`. */
  bringerOf(position: number): Segment | undefined {
    for (const segment of this.#running) {
      if (position >= segment.position && position < segment.end) return segment;
    }
    return undefined;
  }

  /** The connection is done with it; what it did not bring is free again. */
  giveBack(segment: Segment): void {
    this.#running.delete(segment);
    this.#claimed.remove(segment.position, segment.end);
  }

  /**
   * A part of the longest rest, for one connection more. The connection that had it is cut when it
   * gets there, so this is for transfers that would take long otherwise.
   */
  split(): Segment | undefined {
    let longest: Segment | undefined;
    for (const segment of this.#running) {
      if (longest === undefined || restOf(segment) > restOf(longest)) longest = segment;
    }
    if (longest === undefined || restOf(longest) < 2 * segmentBytesMin) return undefined;
    const { end } = longest;
    const runway = Math.min(this.#segmentBytes(), restOf(longest) >> 1);
    const start = this.#alignDown(longest.position + runway);
    if (start <= longest.position) return undefined;
    this.#shorten(longest, start);
    return this.#claimFrom(start, end);
  }

  #shorten(segment: Segment, end: number): void {
    this.#claimed.remove(end, segment.end);
    segment.end = end;
  }

  #claimFrom(start: number, gapEnd: number): Segment {
    return this.#claim(start, Math.min(gapEnd, this.#alignDown(start + this.#segmentBytes())));
  }

  #claim(start: number, end: number): Segment {
    const segment: Segment = { start, end, position: start };
    this.#claimed.add(start, end);
    this.#running.add(segment);
    return segment;
  }

  /** Two segments a connection for what is left, so that none ends long before the others. */
  #segmentBytes(): number {
    const rest = this.#sizeBytes - this.#fetchedBytes();
    const share = this.#alignDown(rest / (2 * this.#connections));
    return Math.max(segmentBytesMin, Math.min(segmentBytesMax, share));
  }

  #fetchedBytes(): number {
    let bytes = this.#claimed.totalBytes();
    for (const segment of this.#running) bytes -= restOf(segment);
    return bytes;
  }

  /** The aligned start at or before a position, or the position when that start is claimed already. */
  #alignedIn(position: number): number {
    const start = this.#alignDown(position);
    return this.#claimed.gapFrom(start, position + 1)?.start === start ? start : position;
  }

  #alignDown(position: number): number {
    return position - (position % this.#alignBytes);
  }
}

function restOf(segment: Segment | ByteRange): number {
  return segment.end - ('position' in segment ? segment.position : segment.start);
}

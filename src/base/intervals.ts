/** Bytes `start` (included) to `end` (excluded). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * A set of byte positions, kept as sorted, disjoint, non-touching half-open ranges. A growing blob has
 * one for what is written and one for what somebody is fetching; both hold a few dozen ranges at most.
 */
export class Intervals {
  readonly #ranges: { start: number; end: number }[] = [];

  add(start: number, end: number): void {
    if (start >= end) return;
    const ranges = this.#ranges;
    let first = this.#indexOfFirstEndingAtOrAfter(start);
    let last = first;
    while (last < ranges.length && ranges[last]!.start <= end) last += 1;
    if (first < last) {
      const merged = ranges[first]!;
      merged.start = Math.min(merged.start, start);
      merged.end = Math.max(ranges[last - 1]!.end, end);
      first += 1;
      if (first < last) ranges.splice(first, last - first);
      return;
    }
    ranges.splice(first, 0, { start, end });
  }

  remove(start: number, end: number): void {
    if (start >= end) return;
    const kept: { start: number; end: number }[] = [];
    for (const range of this.#ranges) {
      if (range.start < start) kept.push({ start: range.start, end: Math.min(range.end, start) });
      if (range.end > end) kept.push({ start: Math.max(range.start, end), end: range.end });
    }
    this.#ranges.splice(0, this.#ranges.length, ...kept);
  }

  /** Where the run of members that begins at `position` ends; `position` itself when it is no member. */
  runEnd(position: number): number {
    const range = this.#ranges[this.#indexOfFirstEndingAtOrAfter(position + 1)];
    return range !== undefined && range.start <= position ? range.end : position;
  }

  /** The first gap at or after `position` and before `limit`. */
  gapFrom(position: number, limit: number): ByteRange | undefined {
    const start = this.runEnd(position);
    if (start >= limit) return undefined;
    const next = this.#ranges[this.#indexOfFirstEndingAtOrAfter(start + 1)];
    return { start, end: Math.min(next?.start ?? limit, limit) };
  }

  covers(start: number, end: number): boolean {
    return start >= end || this.runEnd(start) >= end;
  }

  totalBytes(): number {
    let total = 0;
    for (const range of this.#ranges) total += range.end - range.start;
    return total;
  }

  toArray(): ByteRange[] {
    return this.#ranges.map(({ start, end }) => ({ start, end }));
  }

  #indexOfFirstEndingAtOrAfter(position: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ranges[middle]!.end < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

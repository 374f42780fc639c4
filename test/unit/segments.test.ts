import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Segments, type Segment } from '../../src/mirror/segments.ts';

const mib = 1024 * 1024;
const align = 256 * 1024;

/** What connections did to a blob: brings bytes, and fails when a byte comes twice. */
class Transfer {
  readonly segments: Segments;
  readonly #blocks: Uint8Array;
  readonly #unit: number;

  constructor(sizeBytes: number, connections: number, unit: number) {
    this.segments = new Segments(sizeBytes, connections, align);
    this.#blocks = new Uint8Array(Math.ceil(sizeBytes / unit));
    this.#unit = unit;
  }

  bring(segment: Segment, bytes: number): void {
    const end = Math.min(segment.end, segment.position + bytes);
    for (let at = segment.position; at < end; at += this.#unit) {
      const block = Math.floor(at / this.#unit);
      assert.equal(this.#blocks[block], 0, `byte ${at} came twice`);
      this.#blocks[block] = 1;
    }
    segment.position = end;
    if (segment.position === segment.end) this.segments.giveBack(segment);
  }

  get isWhole(): boolean {
    return this.#blocks.every((block) => block === 1);
  }
}

function disjoint(running: ReadonlySet<Segment>): void {
  const sorted = [...running].sort((a, b) => a.position - b.position || a.end - b.end);
  for (const [at, { position }] of sorted.entries()) {
    assert.ok(at === 0 || sorted[at - 1]!.end <= position, 'two connections bring the same byte');
  }
}

describe('segments', () => {
  // Bytes come in units of 16 KiB, so connections break in the middle of aligned blocks, too.
  const unit = 16 * 1024;
  const place = fc.nat({ max: 40 * mib - 1 });
  const deed = fc.record({
    what: fc.constantFrom(
      'take',
      'wanted',
      'ahead',
      'split',
      'all',
      'extend',
      'bring',
      'bring',
      'break',
    ),
    place,
    which: fc.nat({ max: 10 }),
  });

  test('claim no byte twice and leave none out, whatever connections and readers do', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: (40 * mib) / unit }),
        fc.integer({ min: 1, max: 8 }),
        fc.array(deed, { maxLength: 80 }),
        (units, connections, deeds) => {
          const sizeBytes = units * unit;
          const transfer = new Transfer(sizeBytes, connections, unit);
          const { segments } = transfer;
          segments.takeAll();
          for (const { what, place, which } of deeds) {
            const position = Math.floor((place % sizeBytes) / unit) * unit;
            const running = [...segments.running];
            const one = running[which % Math.max(1, running.length)];
            if (what === 'take') segments.take([]);
            else if (what === 'wanted') segments.take([position]);
            else if (what === 'ahead') segments.takeAhead(position);
            else if (what === 'split') segments.split();
            else if (what === 'all') segments.takeAll();
            else if (one !== undefined && what === 'extend') segments.extend(one);
            else if (one !== undefined && what === 'bring') transfer.bring(one, position + unit);
            else if (one !== undefined) segments.giveBack(one);
            disjoint(segments.running);
          }
          for (const segment of segments.running) transfer.bring(segment, sizeBytes);
          for (let next = segments.take([]); next !== undefined; next = segments.take([])) {
            transfer.bring(next, sizeBytes);
          }

          assert.ok(transfer.isWhole);
          assert.equal(segments.running.size, 0);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('what a reader waits for comes before the front', () => {
    const segments = new Segments(64 * mib, 4, align);
    segments.take([]);

    const wanted = segments.take([40 * mib + 5]);

    assert.equal(wanted?.start, 40 * mib, 'from the start of the block that holds it');
    assert.ok(wanted.end > 40 * mib + 5);
  });

  test('a wanted byte that somebody brings already needs no connection: the front is next', () => {
    const segments = new Segments(64 * mib, 4, align);
    const first = segments.take([]);
    assert.ok(first !== undefined);

    const next = segments.take([first.position + 10]);

    assert.equal(next?.start, first.end);
    assert.equal(segments.bringerOf(first.position + 10), first);
  });

  test('a reader far ahead takes its part from the one connection that has all', () => {
    const segments = new Segments(64 * mib, 4, align);
    const all = segments.takeAll();
    assert.ok(all !== undefined);

    const ahead = segments.takeAhead(40 * mib + 5);

    assert.equal(ahead?.start, 40 * mib);
    assert.equal(all.end, 40 * mib);
    assert.equal(segments.bringerOf(40 * mib + 5), ahead);
  });

  test('a broken connection gives back what it did not bring, and no more', () => {
    const segments = new Segments(8 * mib, 1, align);
    const all = segments.takeAll();
    assert.ok(all !== undefined);
    all.position = 3 * mib + 7;

    segments.giveBack(all);
    const next = segments.take([]);

    assert.equal(next?.start, 3 * mib + 7);
    assert.equal(segments.bringerOf(3 * mib), undefined);
  });

  test('a split leaves the first connection a runway and covers what it loses', () => {
    const segments = new Segments(64 * mib, 4, align);
    const all = segments.takeAll();
    assert.ok(all !== undefined);

    const half = segments.split();

    assert.ok(half !== undefined);
    assert.ok(all.end >= 2 * mib);
    assert.equal(half.start, all.end);
    assert.equal(half.start % align, 0);
  });

  test('a rest that is nearly done is not split', () => {
    const segments = new Segments(64 * mib, 4, align);
    const all = segments.takeAll();
    assert.ok(all !== undefined);
    all.position = 61 * mib;

    assert.equal(segments.split(), undefined);
    assert.equal(all.end, 64 * mib);
  });

  test('segments are 2 to 16 MiB, so that connections end together', () => {
    const sizes = [30 * mib, 100 * mib, 10_000 * mib].map((sizeBytes) => {
      const segment = new Segments(sizeBytes, 4, align).take([]);
      return (segment?.end ?? 0) / mib;
    });

    assert.deepEqual(sizes, [3.75, 12.5, 16]);
    assert.equal(new Segments(5 * mib, 8, align).take([])?.end, 2 * mib);
  });

  test('a connection that runs on takes what nobody else fetches, and stops before the next', () => {
    const segments = new Segments(64 * mib, 4, align);
    const first = segments.take([]);
    const ahead = segments.take([40 * mib]);
    assert.ok(first !== undefined && ahead !== undefined);

    segments.extend(first);
    segments.extend(ahead);

    assert.equal(first.end, 40 * mib);
    assert.equal(ahead.end, 64 * mib);
    assert.equal(segments.take([]), undefined);
  });

  test('an empty blob has nothing to take', () => {
    assert.equal(new Segments(0, 4, align).take([0]), undefined);
  });
});

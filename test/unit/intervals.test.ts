import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Intervals } from '../../src/base/intervals.ts';

const space = 40;

type Step = readonly [op: 'add' | 'remove', start: number, end: number];

/** The same set as a row of flags: slow, and right by looking at it. */
function rowOf(steps: readonly Step[]): boolean[] {
  const row = Array.from({ length: space }, () => false);
  for (const [op, start, end] of steps) {
    for (let at = start; at < end; at += 1) row[at] = op === 'add';
  }
  return row;
}

function intervalsOf(steps: readonly Step[]): Intervals {
  const intervals = new Intervals();
  for (const [op, start, end] of steps) intervals[op](start, end);
  return intervals;
}

const position = fc.integer({ min: 0, max: space });
const steps = fc.array(fc.tuple(fc.constantFrom('add', 'remove'), position, position), {
  maxLength: 12,
});

describe('intervals', () => {
  test('are the set that a row of flags is', () => {
    fc.assert(
      fc.property(steps, position, position, (steps, from, to) => {
        const row = rowOf(steps);
        const intervals = intervalsOf(steps);
        const firstAfter = (at: number, wanted: boolean): number =>
          Math.max(at, row.findIndex((is, index) => index >= at && is === wanted) >>> 0);
        const end = Math.min(firstAfter(from, false), Math.max(from, space));
        const gapEnd = Math.min(firstAfter(end, true), to);

        assert.equal(intervals.totalBytes(), row.filter(Boolean).length);
        assert.equal(intervals.runEnd(from), end);
        assert.equal(intervals.covers(from, to), from >= to || row.slice(from, to).every(Boolean));
        assert.deepEqual(
          intervals.gapFrom(from, to),
          end >= to ? undefined : { start: end, end: gapEnd },
        );
      }),
      { numRuns: 2_000 },
    );
  });

  test('are kept sorted, disjoint and not touching, whatever happened to them', () => {
    fc.assert(
      fc.property(steps, (steps) => {
        const ranges = intervalsOf(steps).toArray();

        for (const [at, { start, end }] of ranges.entries()) {
          assert.ok(start < end);
          assert.ok(at === 0 || ranges[at - 1]!.end < start);
        }
        const flags = rowOf(ranges.map(({ start, end }) => ['add', start, end] as const));
        assert.deepEqual(flags, rowOf(steps));
      }),
      { numRuns: 2_000 },
    );
  });

  test('that touch become one', () => {
    const intervals = intervalsOf([
      ['add', 0, 5],
      ['add', 10, 15],
      ['add', 5, 10],
    ]);

    assert.deepEqual(intervals.toArray(), [{ start: 0, end: 15 }]);
  });

  test('hold positions beyond 32 bits', () => {
    const far = 10 * 1024 ** 4;
    const intervals = intervalsOf([['add', far, far + 10]]);

    assert.equal(intervals.runEnd(far), far + 10);
    assert.deepEqual(intervals.gapFrom(0, far + 20), { start: 0, end: far });
  });

  test('give out copies: what is done to them changes nothing', () => {
    const intervals = intervalsOf([['add', 0, 5]]);
    (intervals.toArray()[0] as { end: number }).end = 100;

    assert.equal(intervals.runEnd(0), 5);
  });
});

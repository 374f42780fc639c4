import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Breaker } from '../../src/upstream/breaker.ts';
import { ManualClock } from './manual-clock.ts';

/** With `random` 1 a cool-down has its full length. */
function makeBreaker(random = 1): { clock: ManualClock; breaker: Breaker } {
  const clock = new ManualClock();
  return { clock, breaker: new Breaker(clock, () => random) };
}

describe('the breaker', () => {
  test('opens after five failures in a row, and says so once', () => {
    const { breaker } = makeBreaker();

    const opened = Array.from({ length: 5 }, () => breaker.failed('refused'));

    assert.deepEqual(opened, [false, false, false, false, true]);
    assert.equal(breaker.isOpen, true);
    assert.equal(breaker.admits(), false);
  });

  test('does not count failures that an answer lies between', () => {
    const { breaker } = makeBreaker();

    for (let round = 0; round < 10; round += 1) {
      for (let times = 0; times < 4; times += 1) breaker.failed('refused');
      assert.equal(breaker.succeeded(), false);
    }

    assert.equal(breaker.isOpen, false);
    assert.equal(breaker.admits(), true);
  });

  test('opens after one time-out: the second client does not wait', () => {
    const { breaker } = makeBreaker();

    assert.equal(breaker.failed('timeout'), true);
    assert.equal(breaker.admits(), false);
  });

  test('lets one probe through when the cool-down is over, and nobody beside it', () => {
    const { breaker, clock } = makeBreaker();
    breaker.failed('timeout');

    clock.advance(999);
    assert.equal(breaker.admits(), false);
    clock.advance(1);

    assert.deepEqual([breaker.admits(), breaker.admits()], [true, false]);
    assert.equal(breaker.isOpen, true);
  });

  test('closes when the probe is answered, says so, and begins from nothing', () => {
    const { breaker, clock } = makeBreaker();
    breaker.failed('timeout');
    clock.advance(1_000);
    breaker.admits();

    assert.equal(breaker.succeeded(), true);

    assert.equal(breaker.isOpen, false);
    assert.equal(breaker.failed('refused'), false);
    assert.equal(breaker.admits(), true);
  });

  const series: [how: 'refused' | 'timeout', failures: number, waitsMs: number[]][] = [
    ['refused', 5, [250, 500, 1_000, 2_000, 2_000]],
    ['timeout', 1, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]],
  ];
  for (const [how, failures, expected] of series) {
    test(`doubles the cool-down with each probe that ends with ${how}, up to a limit`, () => {
      const { breaker, clock } = makeBreaker();
      for (let times = 0; times < failures; times += 1) breaker.failed(how);
      const waitsMs = expected.map(() => {
        let waitMs = 0;
        for (; !breaker.admits(); waitMs += 10) clock.advance(10);
        assert.equal(breaker.failed(how), false, 'it was open already');
        return waitMs;
      });

      assert.deepEqual(waitsMs, expected);
    });
  }

  test('failures of requests that were on their way together make it wait as long as one', () => {
    const { breaker, clock } = makeBreaker();
    for (let times = 0; times < 10; times += 1) breaker.failed('timeout');

    clock.advance(1_000);
    const isProbed = breaker.admits();
    for (let times = 0; times < 10; times += 1) breaker.failed('timeout');
    clock.advance(2_000);

    assert.deepEqual([isProbed, breaker.admits()], [true, true]);
  });

  test('a probe that we gave up ourselves proves nothing: the next one may try', () => {
    const { breaker, clock } = makeBreaker();
    breaker.failed('timeout');
    clock.advance(1_000);
    breaker.admits();

    breaker.abandoned();

    assert.equal(breaker.isOpen, true);
    assert.equal(breaker.admits(), true);
  });

  test('shortens the cool-down at random, to half at most, so that mirrors do not knock together', () => {
    const { breaker, clock } = makeBreaker(0);
    breaker.failed('timeout');

    clock.advance(499);
    assert.equal(breaker.admits(), false);
    clock.advance(1);

    assert.equal(breaker.admits(), true);
  });
});

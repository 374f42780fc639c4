import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Cooldown, type LimitedKind } from '../../src/upstream/cooldown.ts';
import { ManualClock } from './manual-clock.ts';

function started(): { clock: ManualClock; cooldown: Cooldown } {
  const clock = new ManualClock();
  const cooldown = new Cooldown(clock, () => 0);
  cooldown.begin('check', 'me');
  cooldown.answered('check');
  return { clock, cooldown };
}

/** The kinds that are held up for `me` now. */
function heldUp(cooldown: Cooldown): LimitedKind[] {
  const kinds: LimitedKind[] = ['pull', 'blob', 'referrers', 'check'];
  return kinds.filter((kind) => cooldown.secondsLeft(kind, 'me') !== undefined);
}

describe('the cool-down after a 429', () => {
  test('is as long as Retry-After says, an hour at most', () => {
    const { clock, cooldown } = started();

    cooldown.limited('check', 60);
    clock.advance(59_999);
    const before = cooldown.secondsLeft('check', 'me');
    clock.advance(1);
    const after = cooldown.secondsLeft('check', 'me');
    const { pauseSeconds } = cooldown.limited('check', 1_000_000);

    assert.equal(before, 1);
    assert.equal(after, undefined);
    assert.equal(pauseSeconds, 3600);
  });

  test('without Retry-After doubles from 15 seconds to 15 minutes, and begins anew after an answer', () => {
    const { clock, cooldown } = started();
    const pauses = Array.from({ length: 8 }, () => {
      const { pauseSeconds } = cooldown.limited('check', undefined);
      clock.advance(pauseSeconds * 1000);
      return pauseSeconds;
    });

    cooldown.begin('check', 'me');
    cooldown.answered('check');
    const { pauseSeconds } = cooldown.limited('check', undefined);

    assert.deepEqual(pauses, [15, 30, 60, 120, 240, 480, 900, 900]);
    assert.equal(pauseSeconds, 15);
  });

  test('of requests that were on their way together is that of one', () => {
    const { cooldown } = started();

    for (let times = 0; times < 10; times += 1) cooldown.limited('check', undefined);
    cooldown.limited('check', 40);
    cooldown.limited('check', 1);

    assert.equal(cooldown.secondsLeft('check', 'me'), 40);
  });

  const scopes: [LimitedKind, LimitedKind[]][] = [
    ['pull', ['pull']],
    ['blob', ['blob']],
    ['referrers', ['referrers']],
    ['check', ['pull', 'blob', 'referrers', 'check']],
  ];
  for (const [kind, expected] of scopes) {
    test(`of a ${kind} holds up ${expected.join(', ')}`, () => {
      const { cooldown } = started();

      cooldown.limited(kind, 60);

      assert.deepEqual(heldUp(cooldown), expected);
    });
  }

  test('ends with one probe, and nobody beside it until that is answered or given up', () => {
    const { clock, cooldown } = started();
    cooldown.limited('check', 60);
    clock.advance(60_000);

    cooldown.begin('check', 'me');
    const beside = heldUp(cooldown);
    cooldown.abandoned('check');
    const afterGivenUp = heldUp(cooldown);
    cooldown.begin('blob', 'me');
    cooldown.answered('blob');
    const afterAnswer = heldUp(cooldown);

    assert.deepEqual(beside, ['pull', 'blob', 'referrers', 'check']);
    assert.deepEqual(afterGivenUp, []);
    assert.deepEqual(afterAnswer, []);
  });

  test('of all is probed again when the probe was held up by a limit of its own kind', () => {
    const { clock, cooldown } = started();
    cooldown.limited('check', 60);
    clock.advance(60_000);

    cooldown.begin('pull', 'me');
    cooldown.limited('pull', 30);

    assert.deepEqual(heldUp(cooldown), ['pull']);
    clock.advance(30_000);
    assert.deepEqual(heldUp(cooldown), []);
  });

  test('is not ended by the answer to a request that was on its way before', () => {
    const { cooldown } = started();
    cooldown.begin('check', 'me');
    cooldown.limited('check', 60);

    cooldown.answered('check');

    assert.equal(cooldown.secondsLeft('check', 'me'), 60);
  });

  test('is one account’s: another login is asked at once, and starts with nothing', () => {
    const { cooldown } = started();
    cooldown.limited('check', 60);

    const other = cooldown.secondsLeft('check', 'other');
    cooldown.begin('check', 'other');

    assert.equal(other, undefined);
    assert.equal(cooldown.secondsLeft('check', 'other'), undefined);
  });
});

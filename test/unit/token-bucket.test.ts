import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { setImmediate as settle } from 'node:timers/promises';
import type { Priority } from '../../src/base/limiter.ts';
import { TokenBucket } from '../../src/base/token-bucket.ts';
import { ManualClock } from './manual-clock.ts';

/** Time in which timers fire and that a clock shows, in steps that the test asks for. */
function manualTime(t: TestContext): { clock: ManualClock; pass: (ms: number) => Promise<void> } {
  const clock = new ManualClock();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const pass = async (ms: number): Promise<void> => {
    for (let step = 0; step < ms; step += 1) {
      clock.advance(1);
      t.mock.timers.tick(1);
      await settle();
    }
  };
  return { clock, pass };
}

/** Takes again and again, as a connection that is faster than the limit does; counts what it got. */
function taker(bucket: TokenBucket, amount: number, priority: Priority): { taken: number } {
  const counted = { taken: 0 };
  void (async () => {
    for (;;) {
      await bucket.take(amount, () => priority);
      counted.taken += amount;
      await settle();
    }
  })();
  return counted;
}

describe('a token bucket', () => {
  test('keeps its rate over seconds, whatever the size of the pieces and the number that take', async (t) => {
    const { clock, pass } = manualTime(t);
    const bucket = new TokenBucket(1_000_000, clock);
    const takers = [1_000, 7_000, 64_000, 900_000].map((size) => taker(bucket, size, 'client'));

    await pass(10_000);

    const taken = takers.reduce((sum, one) => sum + one.taken, 0);
    assert.ok(taken > 9_500_000 && taken < 11_500_000, `${taken}`);
  });

  test('gives what clients do not want to the next priority, and nothing before', async (t) => {
    const { clock, pass } = manualTime(t);
    const bucket = new TokenBucket(1_000_000, clock);
    const client = taker(bucket, 10_000, 'client');
    const prewarms = [1, 2, 3, 4].map(() => taker(bucket, 10_000, 'prewarm'));

    await pass(5_000);

    const warmed = prewarms.reduce((sum, one) => sum + one.taken, 0);
    assert.ok(client.taken > 4_500_000, `clients ${client.taken}`);
    assert.ok(warmed < 500_000, `prewarm ${warmed}`);
  });

  test('is all for the lowest priority when nobody else wants it', async (t) => {
    const { clock, pass } = manualTime(t);
    const bucket = new TokenBucket(1_000_000, clock);
    const sync = taker(bucket, 10_000, 'sync');

    await pass(5_000);

    assert.ok(sync.taken > 4_500_000 && sync.taken < 5_500_000, `${sync.taken}`);
  });

  test('holds up nobody any more once it is closed', async (t) => {
    const { clock } = manualTime(t);
    const bucket = new TokenBucket(1, clock);
    void bucket.take(1, () => 'client');
    const waiting = [1, 2, 3].map(async () => bucket.take(1, () => 'client'));

    bucket.close();
    await Promise.all(waiting);

    assert.equal(
      bucket.take(1, () => 'client'),
      undefined,
    );
  });

  test('lets the first through at once, and one that waits leave with its signal', async (t) => {
    const { clock, pass } = manualTime(t);
    const bucket = new TokenBucket(1_000, clock);
    const leaving = new AbortController();

    const first = bucket.take(10_000, () => 'client');
    const second = bucket.take(1, () => 'client', leaving.signal);
    leaving.abort(new Error('gone'));

    assert.equal(first, undefined);
    await assert.rejects(async () => second, /gone/);
    assert.equal(bucket.isShortFor('sync'), false);
    await pass(20);
    assert.throws(() => bucket.take(1, () => 'client', leaving.signal), /gone/);
  });

  test('asks for the priority when it is time, so work that a client joins overtakes', async (t) => {
    const { clock, pass } = manualTime(t);
    const bucket = new TokenBucket(1_000, clock);
    const order: string[] = [];
    void bucket.take(500, () => 'client');
    let priority: Priority = 'sync';
    const note = (name: string) => () => void order.push(name);
    const prewarm = bucket.take(10, () => 'prewarm')?.then(note('prewarm'));
    const joined = bucket.take(10, () => priority)?.then(note('joined'));

    const isShort = { client: bucket.isShortFor('client'), sync: bucket.isShortFor('sync') };
    priority = 'client';
    await pass(1_000);
    await Promise.all([prewarm, joined]);

    assert.deepEqual(isShort, { client: false, sync: true });
    assert.deepEqual(order, ['joined', 'prewarm']);
  });
});

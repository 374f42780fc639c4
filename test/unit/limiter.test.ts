import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { Limiter, priorities, type Priority } from '../../src/base/limiter.ts';

/** Notes in `order` when its place is given; resolves with the release. */
async function come(
  limiter: Limiter,
  order: string[],
  name: string,
  priority: () => Priority = () => 'client',
): Promise<() => void> {
  const release = await limiter.acquire(priority, undefined);
  assert.ok(release !== undefined);
  order.push(name);
  return release;
}

describe('the limiter', () => {
  test('gives no more places than it has, however they come and go', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.nat({ max: 3 }), { maxLength: 20 }),
        async (slots, delays) => {
          const limiter = new Limiter(slots, 100);
          let inside = 0;
          let mostInside = 0;
          await Promise.all(
            delays.map(async (turns) => {
              const release = await come(limiter, [], '');
              inside += 1;
              mostInside = Math.max(mostInside, inside);
              for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
              inside -= 1;
              release();
            }),
          );

          assert.ok(mostInside <= slots);
          assert.equal(limiter.running, 0);
          assert.equal(limiter.waiting, 0);
        },
      ),
    );
  });

  test('lets clients go first, then the others by rank, and each rank in its order', async () => {
    const limiter = new Limiter(1, 100);
    const order: string[] = [];
    const first = await come(limiter, order, 'first');
    const asked = ['sync', 'read-ahead', 'client', 'prewarm', 'read-ahead', 'client'] as const;
    const coming = asked.map((priority, at) =>
      come(limiter, order, `${priority} ${at}`, () => priority).then((release) => release()),
    );

    first();
    await Promise.all(coming);

    assert.deepEqual(order, [
      'first',
      'client 2',
      'client 5',
      'read-ahead 1',
      'read-ahead 4',
      'prewarm 3',
      'sync 0',
    ]);
  });

  test('asks for the rank when a place is free, so work that a client joined overtakes', async () => {
    const limiter = new Limiter(1, 100);
    const order: string[] = [];
    const first = await come(limiter, order, 'first');
    let joined: Priority = 'sync';
    const coming = [
      come(limiter, order, 'read ahead', () => 'read-ahead').then((release) => release()),
      come(limiter, order, 'joined', () => joined).then((release) => release()),
    ];

    joined = 'client';
    first();
    await Promise.all(coming);

    assert.deepEqual(order, ['first', 'joined', 'read ahead']);
  });

  test('has a queue with an end: beyond it the answer is no, at once', async () => {
    const limiter = new Limiter(1, 1);
    const release = await come(limiter, [], 'first');
    const second = come(limiter, [], 'second');

    const third = await limiter.acquire(() => 'client', undefined);

    assert.equal(third, undefined);
    assert.equal(limiter.waiting, 1);
    release();
    (await second)();
  });

  test('forgets who gives up, with the reason, and passes the place to the next', async () => {
    const limiter = new Limiter(1, 100);
    const first = await come(limiter, [], 'first');
    const leaving = new AbortController();
    const second = limiter.acquire(() => 'client', leaving.signal);
    const third = come(limiter, [], 'third');

    leaving.abort(new Error('the client left'));

    await assert.rejects(second, /the client left/);
    assert.equal(limiter.waiting, 1);
    first();
    (await third)();
    assert.equal(limiter.running, 0);
  });

  test('takes no place for a request that was given up before', () => {
    const limiter = new Limiter(1, 100);

    assert.throws(() => limiter.acquire(() => 'client', AbortSignal.abort(new Error('too late'))));
    assert.equal(limiter.running, 0);
  });

  test('keeps the place of one who gives up after having got it', async () => {
    const limiter = new Limiter(1, 100);
    const first = await come(limiter, [], 'first');
    const leaving = new AbortController();
    const second = limiter.acquire(() => 'client', leaving.signal);

    first();
    const release = await second;
    leaving.abort(new Error('the client left'));

    assert.equal(limiter.running, 1);
    release?.();
    assert.equal(limiter.running, 0);
  });

  test('a place that is given back twice is one place', async () => {
    const limiter = new Limiter(2, 100);
    const first = await come(limiter, [], 'first');
    await come(limiter, [], 'second');

    first();
    first();

    assert.equal(limiter.running, 1);
  });

  test('ranks clients before everything else', () => {
    assert.equal(priorities[0], 'client');
  });

  test('keeps a place in four free of prewarming and sync, for the client that comes', async () => {
    const limiter = new Limiter(4, 100);
    const order: string[] = [];
    const prewarms = [1, 2, 3, 4].map((at) =>
      come(limiter, order, `prewarm ${at}`, () => 'prewarm'),
    );
    await Promise.all(prewarms.slice(0, 3));

    const client = await come(limiter, order, 'client');

    assert.deepEqual(order, ['prewarm 1', 'prewarm 2', 'prewarm 3', 'client']);
    client();
    (await prewarms[0]!)();
    (await prewarms[3]!)();
    assert.equal(limiter.running, 2);
  });

  test('gives the place that it kept free to work that a client begins to wait for', async () => {
    const limiter = new Limiter(4, 100);
    const order: string[] = [];
    for (const at of [1, 2, 3]) await come(limiter, order, `sync ${at}`, () => 'sync');
    let priority: Priority = 'sync';
    const joined = come(limiter, order, 'joined', () => priority);

    priority = 'client';
    await joined;

    assert.equal(order.at(-1), 'joined');
  });
});

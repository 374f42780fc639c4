import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClientsFirst } from '../../src/base/clients-first.ts';
import type { Priority } from '../../src/base/limiter.ts';
import { ManualClock } from './manual-clock.ts';

const mib = 1024 * 1024;
const prewarm = (): Priority => 'prewarm';
const never = new AbortController().signal;

test('without clients nobody stands back, and clients never do', async () => {
  const order = new ClientsFirst(new ManualClock());
  assert.equal(order.take('prewarm', 64 * mib), false);
  await order.turn(prewarm, never);

  assert.equal(order.take('client', mib), false);
  assert.equal(order.take('read-ahead', mib), false);
  assert.equal(order.isBusyFor('client'), false);
  assert.equal(order.isBusyFor('sync'), true);
  await order.turn(() => 'client', never);
});

test('while clients take, the others let go and have a short turn now and then', async () => {
  const clock = new ManualClock();
  const order = new ClientsFirst(clock);
  order.take('client', mib);
  assert.equal(order.take('prewarm', 64 * mib), true);

  await order.turn(prewarm, never);
  assert.equal(order.take('prewarm', 1_000), false, 'its turn has begun');
  assert.equal(order.take('prewarm', mib), true, 'its turn is over');
  const next = order.turn(prewarm, never);
  clock.advance(500);
  order.take('client', mib);
  clock.advance(500);
  await next;
});

test('they go on when clients are done, or begin to wait for them; cancelled, they end at once', async () => {
  const clock = new ManualClock();
  const order = new ClientsFirst(clock);
  order.take('client', mib);
  await order.turn(prewarm, never);
  let priority: Priority = 'sync';
  const joined = order.turn(() => priority, never);
  priority = 'client';
  await joined;

  const stop = new AbortController();
  const cancelled = order.turn(prewarm, stop.signal);
  stop.abort(new Error('no longer wanted'));
  await assert.rejects(cancelled, /no longer wanted/);

  clock.advance(1_000);
  assert.equal(order.take('prewarm', 64 * mib), false);
});

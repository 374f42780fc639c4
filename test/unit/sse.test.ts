import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { EventStreams, type SseEvent } from '../../src/http/admin/sse.ts';

/** A reader that takes nothing until it is told to. */
class SlowReader extends EventEmitter {
  readonly written: string[] = [];
  isSlow = true;

  writeHead(): void {}

  write(text: string): boolean {
    this.written.push(text);
    return !this.isSlow;
  }

  end(): void {}

  takeAll(): void {
    this.isSlow = false;
    this.emit('drain');
  }
}

/** What a reader got that took nothing while these were sent. */
function readLate(sent: readonly SseEvent[]): string[] {
  const reader = new SlowReader();
  const streams = new EventStreams();
  const reply = { hijack: () => {}, getHeaders: () => ({}), raw: reader };
  const request = { raw: new EventEmitter() };
  streams.answer(request as unknown as FastifyRequest, reply as unknown as FastifyReply, (send) => {
    for (const event of sent) send(event);
    return () => {};
  });
  reader.takeAll();
  streams.close();
  return reader.written.filter((text) => !text.startsWith(':')).map((text) => text.trim());
}

test('a slow reader of states is told the newest, and nothing that is out of date', () => {
  const states = [1, 2, 3, 4].map((at) => ({ event: 'stats', data: at, replaces: true }));

  assert.deepEqual(readLate([...states.slice(0, 3), { event: 'other', data: 0 }, states[3]!]), [
    // The first was under way already.
    'event: stats\ndata: 1',
    'event: other\ndata: 0',
    'event: stats\ndata: 4',
  ]);
});

test('of events that pile up the oldest are dropped, and the reader is told how many', () => {
  const events = Array.from({ length: 1_011 }, (_, at) => ({ event: 'request', data: at }));

  const got = readLate(events);

  assert.equal(got.length, 1_002);
  assert.equal(got[1], 'event: request\ndata: 11');
  assert.equal(got.at(-2), 'event: request\ndata: 1010');
  assert.equal(got.at(-1), 'event: dropped\ndata: {"events":10}');
});

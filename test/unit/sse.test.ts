import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { EventStreams, type SseEvent, type Subscribe } from '../../src/http/admin/sse.ts';

/** A reader that takes nothing until it is told to. */
class SlowReader extends EventEmitter {
  readonly written: string[] = [];
  isSlow = true;
  isEnded = false;

  writeHead(): void {}

  write(text: string): boolean {
    this.written.push(text);
    return !this.isSlow;
  }

  end(): void {
    this.isEnded = true;
  }

  takeAll(): void {
    this.isSlow = false;
    this.emit('drain');
  }
}

/** A stream to a slow reader. */
function answer(subscribe: Subscribe): { reader: SlowReader; streams: EventStreams } {
  const reader = new SlowReader();
  const streams = new EventStreams();
  const reply = { hijack: () => {}, getHeaders: () => ({}), raw: reader };
  const request = { raw: new EventEmitter() };
  streams.answer(request as unknown as FastifyRequest, reply as unknown as FastifyReply, subscribe);
  return { reader, streams };
}

/** Events, as they were written, up to the end of the stream. */
function textsOf({ written }: SlowReader): string[] {
  return written.filter((text) => !text.startsWith(':')).map((text) => text.trim());
}

/** What a reader got that took nothing while these were sent. */
function readLate(sent: readonly SseEvent[]): string[] {
  const { reader, streams } = answer((send) => {
    for (const event of sent) send(event);
    return () => {};
  });
  reader.takeAll();
  streams.close();
  return textsOf(reader);
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

test('a slow reader is told the last of what a source said that has ended', () => {
  const { reader } = answer((send, end) => {
    for (const data of [1, 2]) send({ event: 'run', data });
    end();
    return () => {};
  });

  assert.deepEqual(textsOf(reader), ['event: run\ndata: 1', 'event: run\ndata: 2']);
  assert.equal(reader.isEnded, true);
});

test('a source that ends at once is left, and what it says later goes nowhere', () => {
  let isLeft = false;
  let later = (): void => {};
  const { reader } = answer((send, end) => {
    later = () => send({ event: 'run', data: 1 });
    end();
    return () => {
      isLeft = true;
    };
  });
  later();

  assert.equal(isLeft, true);
  assert.deepEqual(textsOf(reader), []);
});

import type { FastifyReply, FastifyRequest } from 'fastify';

/** Events that wait for a slow reader; beyond it the oldest are dropped, and it is told how many. */
const waitingMax = 1_000;

/** Proxies close what is silent for a minute. */
const heartbeatMs = 15_000;

export interface SseEvent {
  readonly event: string;
  readonly data: unknown;
  readonly id?: string;
  /** It tells a whole state: one of its name that still waits for a slow reader is out of date. */
  readonly replaces?: boolean;
}

/** Where the events of one stream come from: `send` is called for each until the answer is called. */
export type Subscribe = (send: (event: SseEvent) => void, end: () => void) => () => void;

/** Streams of server-sent events (HTML standard, 9.2), each of which has a bound and an end. */
export class EventStreams {
  readonly #open = new Set<() => void>();

  /** Answers with a stream that lasts until its source or its reader ends, or this door closes. */
  answer(request: FastifyRequest, reply: FastifyReply, subscribe: Subscribe): void {
    reply.hijack();
    const response = reply.raw;
    const headers = reply.getHeaders() as Record<string, string | number | string[]>;
    response.writeHead(200, {
      ...headers,
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no',
    });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    response.write(': hello\n\n');
    const waiting: string[] = [];
    let dropped = 0;
    let isBlocked = false;
    const flush = (): void => {
      isBlocked = false;
      while (waiting.length > 0 && !isBlocked) isBlocked = !response.write(waiting.shift()!);
      if (waiting.length > 0 || dropped === 0 || isBlocked) return;
      isBlocked = !response.write(droppedText(dropped));
      dropped = 0;
    };
    response.on('drain', flush);
    const send = (event: SseEvent): void => {
      // Its source may hear of the end later than the reader.
      if (!this.#open.has(close)) return;
      if (!isBlocked && waiting.length === 0) {
        isBlocked = !response.write(textOf(event));
        return;
      }
      if (event.replaces === true) {
        const outdated = waiting.findIndex((text) => text.startsWith(`event: ${event.event}\n`));
        if (outdated !== -1) waiting.splice(outdated, 1);
      }
      if (waiting.length === waitingMax) {
        waiting.shift();
        dropped += 1;
      }
      waiting.push(textOf(event));
    };
    const heartbeat = setInterval(() => {
      if (!isBlocked) response.write(': \n\n');
    }, heartbeatMs);
    let unsubscribe = (): void => {};
    const close = (): void => {
      if (!this.#open.delete(close)) return;
      clearInterval(heartbeat);
      unsubscribe();
      // A slow reader, too, gets to know how it ended.
      for (const text of waiting.splice(0)) response.write(text);
      if (dropped > 0) response.write(droppedText(dropped));
      response.end();
    };
    this.#open.add(close);
    request.raw.once('close', close);
    response.once('close', close);
    unsubscribe = subscribe(send, close);
    // One that has ended at once could not be left by then.
    if (!this.#open.has(close)) unsubscribe();
  }

  close(): void {
    for (const close of this.#open) close();
  }
}

function droppedText(events: number): string {
  return textOf({ event: 'dropped', data: { events } });
}

function textOf({ event, data, id }: SseEvent): string {
  const name = `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  return id === undefined ? name : `id: ${id}\n${name}`;
}

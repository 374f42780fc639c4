/**
 * The client of all contenders, in a process of its own: raw sockets that read into one buffer and
 * discard, since a client that costs more than the server would measure itself.
 */
import { connect, type Socket } from 'node:net';
import { answerParent } from './child.ts';

/** What to ask of whom, over how many keep-alive connections. */
export interface Load {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly connections: number;
  /** Requests of each connection, one after the other. */
  readonly requestsEach: number;
  /** Ends sooner when this time is over. */
  readonly durationMs?: number;
  /** Stops reading for good after the first bytes of the body, and keeps the connections open. */
  readonly stall?: boolean;
  /** Connection n asks for the range from n times this on, to the end. */
  readonly rangeStepBytes?: number;
}

/** Times of the requests of all connections, in milliseconds from the moment of asking. */
export interface LoadResult {
  readonly elapsedMs: number;
  readonly requests: number;
  readonly bodyBytes: number;
  readonly firstByteMs: readonly number[];
  readonly totalMs: readonly number[];
}

/** Fits the second-level cache, so that what is discarded was not written to memory first. */
const buffer = Buffer.alloc(256 * 1024);

/** As for a real client: a request that takes longer has failed. */
const requestMsMax = 120_000;

/** One request on a connection; feeds on what arrives. */
interface Exchange {
  /** Whether the answer is whole. @throws Error when it is neither 200 nor 206, or has no length */
  take(bytes: Buffer): boolean;
  readonly bodyBytes: number;
}

function startExchange(): Exchange {
  let head = '';
  let left: number | undefined;
  const exchange = {
    bodyBytes: 0,
    take(bytes: Buffer): boolean {
      let arrived = bytes.length;
      if (left === undefined) {
        const before = head.length;
        head += bytes.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end === -1) return false;
        left = lengthOf(head.slice(0, end));
        arrived = before + bytes.length - (end + 4);
      }
      exchange.bodyBytes += arrived;
      left -= arrived;
      return left <= 0;
    },
  };
  return exchange;
}

function lengthOf(head: string): number {
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (!/^HTTP\/1\.1 20[06] /.test(head) || length === undefined) {
    throw new Error(`not a 200 or 206 with a length: ${head}`);
  }
  return Number(length);
}

function requestOf({ url, headers, rangeStepBytes }: Load, at: number): string {
  const { pathname, search, host } = new URL(url);
  const range = rangeStepBytes === undefined ? {} : { Range: `bytes=${at * rangeStepBytes}-` };
  const fields = Object.entries({ Host: host, ...headers, ...range });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${pathname}${search} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

interface Tally {
  requests: number;
  bodyBytes: number;
  readonly firstByteMs: number[];
  readonly totalMs: number[];
}

/** Runs one connection to its end; a stalled one resolves at its first body byte and stays open. */
function runConnection(load: Load, at: number, deadline: number, tally: Tally): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const { hostname, port } = new URL(load.url);
  const request = requestOf(load, at);
  let exchange = startExchange();
  let askedAt = 0;
  let isBodyBegun = false;
  let left = load.requestsEach;
  let isOver = false;
  const ask = (): void => {
    exchange = startExchange();
    isBodyBegun = false;
    askedAt = performance.now();
    socket.write(request);
  };
  const end = (): void => {
    isOver = true;
    socket.destroy();
    resolve();
  };
  const take = (count: number): boolean => {
    const isWhole = exchange.take(buffer.subarray(0, count));
    if (!isBodyBegun && exchange.bodyBytes > 0) {
      isBodyBegun = true;
      tally.firstByteMs.push(performance.now() - askedAt);
      if (load.stall === true) {
        socket.setTimeout(0);
        isOver = true;
        resolve();
        return false;
      }
    }
    if (!isWhole) return true;
    tally.requests += 1;
    tally.bodyBytes += exchange.bodyBytes;
    tally.totalMs.push(performance.now() - askedAt);
    left -= 1;
    if (left === 0 || performance.now() >= deadline) end();
    else ask();
    return true;
  };
  const socket: Socket = connect({
    host: hostname,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer,
      callback: (count) => {
        try {
          return take(count);
        } catch (error) {
          socket.destroy(error as Error);
          return false;
        }
      },
    },
  });
  socket.setTimeout(requestMsMax, () => socket.destroy(new Error('no answer in time')));
  socket.on('connect', ask);
  socket.on('error', reject);
  socket.on('close', () => {
    if (!isOver) reject(new Error(`the connection closed after ${exchange.bodyBytes} body bytes`));
  });
  return promise;
}

async function runLoad(load: Load): Promise<LoadResult> {
  const tally: Tally = { requests: 0, bodyBytes: 0, firstByteMs: [], totalMs: [] };
  const startedAt = performance.now();
  const deadline = startedAt + (load.durationMs ?? Infinity);
  const connections = Array.from({ length: load.connections }, (_, at) =>
    runConnection(load, at, deadline, tally),
  );
  await Promise.all(connections);
  return { elapsedMs: performance.now() - startedAt, ...tally };
}

answerParent(runLoad);

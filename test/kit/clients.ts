import { createHash } from 'node:crypto';
import { request as requestPlain, type Agent, type IncomingMessage } from 'node:http';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { request as requestTls } from 'node:https';

export interface GetOptions {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  readonly signal?: AbortSignal;
  /** Reads no faster than this, averaged over chunks of the socket (64 KiB). */
  readonly readBytesPerSecond?: number;
  /** Cuts the connection once this many body bytes have arrived. */
  readonly stopAfterBytes?: number;
  /** How much of the body to keep; 1 MiB unless told. The digest is always of the whole. */
  readonly keepBodyBytes?: number;
  /** A connection of its own, unless told. */
  readonly agent?: Agent;
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

/** What a client saw. Times from the moment of asking, in milliseconds. */
export interface Answer {
  /** 0 when no answer came. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  /** The first `keepBodyBytes` of it. */
  readonly body: Buffer;
  readonly bodyBytes: number;
  /** `sha256:…` of what arrived of the body. */
  readonly digest: string;
  readonly headersMs: number | undefined;
  readonly firstByteMs: number | undefined;
  readonly totalMs: number;
  /** The body ended cleanly and is as long as Content-Length said. */
  readonly complete: boolean;
  readonly error: Error | undefined;
  /** How the other side broke the connection off inside the body, if it did. */
  readonly cutWith: 'FIN' | 'RST' | undefined;
}

/** One request as a real client makes it, with what arrived measured; a failure is in the answer. */
export function get(url: string, options: GetOptions = {}): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const startedMs = performance.now();
  const elapsedMs = () => performance.now() - startedMs;
  const reading = startReading(options);
  let response: IncomingMessage | undefined;
  let headersMs: number | undefined;
  const finish = (error?: Error): void => {
    reading.close();
    resolve({
      status: response?.statusCode ?? 0,
      headers: response?.headers ?? {},
      rawHeaders: response?.rawHeaders ?? [],
      ...reading.result(),
      headersMs,
      firstByteMs: reading.firstByteAt === undefined ? undefined : reading.firstByteAt - startedMs,
      totalMs: elapsedMs(),
      complete: error === undefined && isWhole(options.method, response, reading.bytes),
      error,
      cutWith: response === undefined ? undefined : cutOf(error),
    });
  };

  const request = url.startsWith('https:') ? requestTls : requestPlain;
  const outgoing = request(url, {
    method: options.method ?? 'GET',
    headers: options.headers,
    agent: options.agent ?? false,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...options.tls,
  });
  outgoing.on('error', finish);
  outgoing.on('response', (incoming) => {
    response = incoming;
    headersMs = elapsedMs();
    incoming.on('error', finish);
    incoming.on('end', () => finish());
    incoming.on('close', () => finish(new Error('the connection closed inside the body')));
    incoming.on('data', (chunk: Buffer) => {
      if (reading.take(chunk, incoming) === 'stop') {
        finish(new Error('the client stopped reading, as asked'));
        outgoing.destroy();
      }
    });
  });
  outgoing.end(options.body);
  return promise;
}

interface Reading {
  bytes: number;
  firstByteAt: number | undefined;
  take(chunk: Buffer, from: IncomingMessage): 'go on' | 'stop';
  result(): { readonly body: Buffer; readonly bodyBytes: number; readonly digest: string };
  close(): void;
}

function startReading(options: GetOptions): Reading {
  const hash = createHash('sha256');
  const kept: Buffer[] = [];
  let room = options.keepBodyBytes ?? 1024 * 1024;
  let timer: NodeJS.Timeout | undefined;
  let digest: string | undefined;
  const reading: Reading = {
    bytes: 0,
    firstByteAt: undefined,
    take(chunk, from) {
      reading.firstByteAt ??= performance.now();
      reading.bytes += chunk.length;
      if (digest === undefined) hash.update(chunk);
      if (room > 0) kept.push(chunk.subarray(0, room));
      room -= chunk.length;
      if (reading.bytes >= (options.stopAfterBytes ?? Infinity)) return 'stop';
      if (options.readBytesPerSecond !== undefined) {
        from.pause();
        timer = setTimeout(
          () => from.resume(),
          Math.min((chunk.length / options.readBytesPerSecond) * 1000, 2 ** 31 - 1),
        );
      }
      return 'go on';
    },
    result() {
      digest ??= `sha256:${hash.digest('hex')}`;
      return { body: Buffer.concat(kept), bodyBytes: reading.bytes, digest };
    },
    close: () => clearTimeout(timer),
  };
  return reading;
}

/** Node gives both the code ECONNRESET; only for an RST did a system call fail. */
function cutOf(error: NodeJS.ErrnoException | undefined): 'FIN' | 'RST' | undefined {
  if (error?.code !== 'ECONNRESET') return undefined;
  return error.syscall === undefined ? 'FIN' : 'RST';
}

function isWhole(
  method: string | undefined,
  response: IncomingMessage | undefined,
  bodyBytes: number,
): boolean {
  if (response?.complete !== true) return false;
  const length = response.headers['content-length'];
  return method === 'HEAD' || length === undefined || Number(length) === bodyBytes;
}

import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault, RecordedRequest } from './faults.ts';

/** An answer before any fault: status, headers but for the length, and the bytes. */
export interface Content {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
  /** What `bytes` is a part of, and where it begins there. */
  readonly whole?: Buffer;
  readonly offset?: number;
}

export interface Sending {
  readonly record: RecordedRequest;
  readonly response: ServerResponse;
  readonly fault: Fault;
  readonly rateBytesPerSecond: number | undefined;
  /** What all answers share. */
  readonly link: Pace;
}

/** Resolves, once they may go, to how many of the wanted bytes may go now. */
export type Pace = (wantedBytes: number) => Promise<number>;

/** An error by the spec: `{"errors":[{"code","message"}]}`. */
export function errorContent(status: number, code: string): Content {
  return jsonContent(status, { errors: [{ code, message: 'the scripted registry says so' }] });
}

export function jsonContent(
  status: number,
  value: unknown,
  mediaType = 'application/json',
): Content {
  return {
    status,
    headers: { 'content-type': mediaType },
    bytes: Buffer.from(JSON.stringify(value)),
  };
}

/** The part that a single range asks for, 206 or 416; the whole for several ranges or a stale If-Range. */
export function rangedContent(record: RecordedRequest, whole: Content): Content {
  const size = whole.bytes.length;
  const content = { ...whole, headers: { ...whole.headers, 'accept-ranges': 'bytes' } };
  const match = /^bytes=(\d*)-(\d*)$/.exec(record.range ?? '');
  if (match === null || match[0] === 'bytes=-') return content;
  const condition = record.headers['if-range'];
  if (condition !== undefined && condition !== whole.headers['etag']) return content;
  const [, from = '', to = ''] = match;
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size : Math.min(size, Number(to) + 1);
  if (start >= end) {
    const refusal = errorContent(416, 'SIZE_INVALID');
    return { ...refusal, headers: { ...refusal.headers, 'content-range': `bytes */${size}` } };
  }
  return {
    status: 206,
    headers: { ...content.headers, 'content-range': `bytes ${start}-${end - 1}/${size}` },
    bytes: whole.bytes.subarray(start, end),
    whole: whole.bytes,
    offset: start,
  };
}

export function sendRedirect(sending: Sending, to: string | ((path: string) => string)): void {
  const { record, response, fault } = sending;
  record.status = fault.status ?? 307;
  response.writeHead(record.status, {
    location: typeof to === 'string' ? to : to(record.path),
    'content-length': 0,
    ...fault.headers,
  });
  response.end();
}

/** Sends the content with its faults; resolves when it is sent, or cut by either side. */
export async function sendContent(sending: Sending, right: Content): Promise<void> {
  const { record, response, fault } = sending;
  const content = fault.ignoreRange === true ? wholeOf(right) : right;
  record.status = content.status;
  response.writeHead(content.status, headersOf(content, fault));
  response.flushHeaders();
  if (record.method !== 'HEAD') {
    const cutAt = fault.truncateAfterBytes ?? fault.resetAfterBytes;
    await writeBody(sending, content, cutAt ?? Infinity);
    if (fault.resetAfterBytes !== undefined) {
      response.socket?.resetAndDestroy();
      return;
    }
    if (fault.truncateAfterBytes !== undefined) {
      response.socket?.end();
      return;
    }
  }
  response.end();
}

function wholeOf(content: Content): Content {
  if (content.whole === undefined) return content;
  const { 'content-range': _, ...headers } = content.headers;
  return { status: 200, headers, bytes: content.whole };
}

function headersOf(content: Content, fault: Fault): OutgoingHttpHeaders {
  const dropped = new Set(fault.dropHeaders?.map((name) => name.toLowerCase()));
  if (fault.noContentLength === true) dropped.add('content-length');
  const headers: OutgoingHttpHeaders = {
    'docker-distribution-api-version': 'registry/2.0',
    'content-length': content.bytes.length,
    ...content.headers,
    ...fault.headers,
  };
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !dropped.has(name.toLowerCase())),
  );
}

/** What one write carries at most; small enough to count and to cut, large enough to be quick. */
const stepBytes = 128 * 1024;

async function writeBody(sending: Sending, content: Content, cutAt: number): Promise<void> {
  const { record, response, fault } = sending;
  const body =
    fault.appendBytes === undefined
      ? content.bytes
      : Buffer.concat([content.bytes, Buffer.alloc(fault.appendBytes, 'x')]);
  const flipAt = (fault.flipByteAt ?? Infinity) - (content.offset ?? 0);
  const end = Math.min(body.length, cutAt);
  const stallAt = fault.stall?.afterBytes ?? Infinity;
  const pace = startPace(sending.rateBytesPerSecond, 'connection');
  let written: Promise<void> | undefined;

  for (let position = 0; position <= end;) {
    if (position === stallAt) await fault.stall?.until;
    if (position === end || response.destroyed) break;
    const next = stallAt > position ? Math.min(end, stallAt) : end;
    const size = await sending.link(await pace(Math.min(stepBytes, next - position)));
    let step = body.subarray(position, position + size);
    if (flipAt >= position && flipAt < position + size) {
      step = Buffer.from(step);
      step[flipAt - position]! ^= 0xff;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    written = promise;
    const hasRoom = response.write(step, (error) => {
      if (error === undefined || error === null) record.bodyBytesSent += size;
      resolve();
    });
    if (!hasRoom) await Promise.race([written, closed(response)]);
    position += size;
  }
  await Promise.race([written, closed(response)]);
}

const closings = new WeakMap<ServerResponse, Promise<void>>();

function closed(response: ServerResponse): Promise<void> {
  const known = closings.get(response);
  if (known !== undefined) return known;
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once('close', resolve);
  if (response.destroyed) resolve();
  closings.set(response, promise);
  return promise;
}

/** How often a paced connection sends. */
const paceStepMs = 10;

/** So much may be caught up after a hold-up; more would be a burst, not a connection, or a link. */
const paceCreditMs = { connection: 250, link: 50 };

export function startPace(rateBytesPerSecond: number | undefined, of: 'connection' | 'link'): Pace {
  if (rateBytesPerSecond === undefined) return (wantedBytes) => Promise.resolve(wantedBytes);
  const bytesPerMs = rateBytesPerSecond / 1000;
  let credit = bytesPerMs * paceStepMs;
  let at = performance.now();
  return async (wantedBytes) => {
    const enough = Math.max(1, Math.min(wantedBytes, bytesPerMs * paceStepMs));
    for (;;) {
      const now = performance.now();
      credit = Math.min(credit + (now - at) * bytesPerMs, bytesPerMs * paceCreditMs[of] + 1);
      at = now;
      if (credit >= enough) break;
      await sleep(Math.max(paceStepMs, (enough - credit) / bytesPerMs));
    }
    const granted = Math.min(wantedBytes, Math.floor(credit));
    credit -= granted;
    return granted;
  };
}

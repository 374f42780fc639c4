import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ByteRange } from '../base/intervals.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reader } from '../base/reader.ts';
import { isNoneMatch, type HeaderList } from './answers.ts';
import { stalledClientMs, type BodySender } from './body.ts';
import { parseRange } from './range.ts';

/** Content of known size, as an answer sends it: bytes in memory or a blob. */
export interface Sendable {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** Its first byte may take a while, so the headers go out before it. */
  readonly isArriving: boolean;
  read(range: ByteRange): Reader;
  /** Told of the bytes that the client's connection took, as it takes them. */
  sent?(bytes: number): void;
}

export interface Sent {
  readonly status: number;
  readonly sentBytes: number;
  readonly isWhole: boolean;
  /** What broke the content under way; the connection is cut then. */
  readonly error?: unknown;
}

/** Answers a HEAD of content as a GET would be: the headers of the whole, or 304 (RFC 9110, 13.1.2). */
export function sendDescription(
  request: IncomingMessage,
  response: ServerResponse,
  headers: HeaderList,
  { digest, sizeBytes }: Pick<Sendable, 'digest' | 'sizeBytes'>,
): void {
  const isSame = isNoneMatch(request.headers['if-none-match'], digest);
  if (!isSame) headers.push('Content-Length', sizeBytes);
  response.writeHead(isSame ? 304 : 200, headers);
  response.end();
}

/**
 * Answers a GET of content: 200, 304, 206 for one range or several, 416. With a body that breaks, the
 * connection is ended short of its length, by FIN: containerd resumes after that and fails on a reset.
 * @param headers all but lengths and ranges
 * @throws MirrorError RANGE_UNSATISFIABLE, REQUEST_INVALID before anything is sent
 */
export async function sendContent(
  request: IncomingMessage,
  response: ServerResponse,
  headers: HeaderList,
  content: Sendable,
  bodies: BodySender,
): Promise<Sent> {
  const { digest, sizeBytes } = content;
  if (isNoneMatch(request.headers['if-none-match'], digest)) {
    response.writeHead(304, headers);
    response.end();
    return { status: 304, sentBytes: 0, isWhole: true };
  }
  const ifRange = request.headers['if-range'];
  const isSame = ifRange === undefined || ifRange === `"${digest}"`;
  const ranges = isSame ? parseRange(request.headers.range, sizeBytes) : undefined;
  response.setTimeout(stalledClientMs, () => response.destroy());
  if (ranges === undefined) {
    headers.push('Content-Length', sizeBytes);
    return sendParts(
      response,
      200,
      headers,
      content,
      bodies,
      [{ range: { start: 0, end: sizeBytes } }],
      '',
    );
  }
  const [first] = ranges;
  if (ranges.length === 1 && first !== undefined) {
    headers.push('Content-Length', first.end - first.start);
    headers.push('Content-Range', contentRange(first, sizeBytes));
    return sendParts(response, 206, headers, content, bodies, [{ range: first }], '');
  }
  return sendMultipart(response, headers, content, bodies, ranges);
}

/** One part a range, in the order of the request, never merged: containers/image counts them. */
function sendMultipart(
  response: ServerResponse,
  headers: HeaderList,
  content: Sendable,
  bodies: BodySender,
  ranges: readonly ByteRange[],
): Promise<Sent> {
  // Hexadecimal only: some clients fail on a boundary that would need quotes.
  const boundary = randomBytes(16).toString('hex');
  const parts = ranges.map((range, at) => ({
    range,
    head: `${at === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${content.mediaType}\r\nContent-Range: ${contentRange(range, content.sizeBytes)}\r\n\r\n`,
  }));
  const tail = `\r\n--${boundary}--\r\n`;
  let length = tail.length;
  for (const { head, range } of parts) length += head.length + range.end - range.start;
  const type = headers.lastIndexOf('Content-Type');
  headers[type + 1] = `multipart/byteranges; boundary=${boundary}`;
  headers.push('Content-Length', length);
  return sendParts(response, 206, headers, content, bodies, parts, tail);
}

async function sendParts(
  response: ServerResponse,
  status: number,
  headers: HeaderList,
  content: Sendable,
  bodies: BodySender,
  parts: readonly { readonly range: ByteRange; readonly head?: string }[],
  tail: string,
): Promise<Sent> {
  response.writeHead(status, headers);
  if (content.isArriving) response.flushHeaders();
  let sentBytes = 0;
  const count = (bytes: number): void => {
    sentBytes += bytes;
    content.sent?.(bytes);
  };
  try {
    for (const { range, head } of parts) {
      if (head !== undefined) response.write(head);
      const isWhole = await bodies.send(response, content.read(range), count);
      if (!isWhole) return { status, sentBytes, isWhole };
    }
  } catch (error) {
    response.destroy();
    return { status, sentBytes, isWhole: false, error };
  }
  response.end(tail);
  return { status, sentBytes, isWhole: true };
}

function contentRange({ start, end }: ByteRange, sizeBytes: number): string {
  return `bytes ${start}-${end - 1}/${sizeBytes}`;
}

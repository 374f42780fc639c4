import type { ServerResponse } from 'node:http';
import type { Outcome } from '../base/events.ts';
import type { Digest } from '../oci/digest.ts';
import { errorTable, isMirrorError, MirrorError } from '../oci/errors.ts';

/** Headers as writeHead takes them fastest: name, value, name, value. */
export type HeaderList = (string | number)[];

const apiVersion = ['Docker-Distribution-Api-Version', 'registry/2.0'] as const;

/** A Warning as the spec has it is at most this long. */
const warningBytesMax = 1024;

export function commonHeaders(ns: string | undefined): HeaderList {
  const headers: HeaderList = [...apiVersion, 'X-Content-Type-Options', 'nosniff'];
  if (ns !== undefined) headers.push('OCI-Namespace', ns);
  return headers;
}

/** What every answer about one piece of content carries. */
export function contentHeaders(
  headers: HeaderList,
  digest: Digest,
  mediaType: string,
  outcome: Outcome,
): HeaderList {
  headers.push(
    'Docker-Content-Digest',
    digest,
    'ETag',
    `"${digest}"`,
    'Accept-Ranges',
    'bytes',
    'Content-Type',
    mediaType,
    'X-Cache',
    outcome,
  );
  return headers;
}

/** `Warning: 299 - "…"` and Age: the spec's polite way to say that an answer may be old. */
export function addWarning(
  headers: HeaderList,
  warning: string,
  ageSeconds: number | undefined,
): void {
  const text = warning.replaceAll(/[^\x20-\x7e]/g, ' ').replaceAll(/["\\]/g, "'");
  headers.push('Warning', `299 - "${text.slice(0, warningBytesMax)}"`);
  if (ageSeconds !== undefined) headers.push('Age', ageSeconds);
}

/** Whether the client has exactly this already: If-None-Match, RFC 9110, 13.1.2. */
export function isNoneMatch(header: string | undefined, digest: Digest): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  return header.split(',').some((tag) => tag.trim().replace(/^W\//, '') === `"${digest}"`);
}

/** An error as the spec's JSON. The one place that serialises; HEAD gets the headers only. */
export function sendError(
  response: ServerResponse,
  error: unknown,
  ns: string | undefined,
  isHead: boolean,
): void {
  const known = isMirrorError(error)
    ? error
    : new MirrorError('UPSTREAM_UNAVAILABLE', 'internal error');
  const row = errorTable[known.code];
  const status = isMirrorError(error) ? row.status : 500;
  const detail = known.detail === undefined ? {} : { detail: known.detail };
  const oci = isMirrorError(error) ? row.oci : 'UNKNOWN';
  const body = JSON.stringify({ errors: [{ code: oci, message: known.message, ...detail }] });
  const headers = commonHeaders(ns);
  headers.push('Content-Type', 'application/json', 'Content-Length', Buffer.byteLength(body));
  if (known.retryAfterSeconds !== undefined) headers.push('Retry-After', known.retryAfterSeconds);
  if (status === 405) headers.push('Allow', 'GET, HEAD');
  if (known.code === 'RANGE_UNSATISFIABLE') {
    headers.push('Content-Range', `bytes */${Number(known.detail?.['sizeBytes'])}`);
  }
  if (known.code === 'BLOB_UNAVAILABLE') addWarning(headers, known.message, undefined);
  // A request whose rest we did not read must not be taken for the next one.
  if (known.code === 'REQUEST_INVALID' && status === 400) headers.push('Connection', 'close');
  response.writeHead(status, headers);
  response.end(isHead ? undefined : body);
}

export function sendJson(
  response: ServerResponse,
  headers: HeaderList,
  mediaType: string,
  value: unknown,
  isHead: boolean,
): number {
  const body = Buffer.from(JSON.stringify(value));
  headers.push('Content-Type', mediaType, 'Content-Length', body.length);
  response.writeHead(200, headers);
  response.end(isHead ? undefined : body);
  return isHead ? 0 : body.length;
}

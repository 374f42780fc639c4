import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../base/clock.ts';

/** Retry-After in seconds or as a date; RFC 9110, 10.2.3. */
export function retryAfterSeconds(headers: IncomingHttpHeaders, clock: Clock): number | undefined {
  const text = headers['retry-after'];
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs)
    ? undefined
    : Math.max(0, Math.ceil((dateMs - clock.wallMs()) / 1000));
}

import type { ByteRange } from '../base/intervals.ts';
import { MirrorError } from '../oci/errors.ts';

/** podman asks for up to 1,024 ranges at once, and halves them when it is told 400. */
const rangesMax = 1024;

/** What several ranges may ask for beyond the blob itself: overlaps amplify (the «Apache killer»). */
const overlapBytesMax = 1024 * 1024;

/**
 * Reads a Range header, RFC 9110, 14.2. The ranges come in the order of the request, clamped to the
 * size, those beyond the end left out.
 * @returns undefined when the whole is to be sent: no header, or a unit other than bytes
 * @throws MirrorError RANGE_UNSATISFIABLE (416) when nothing is left; REQUEST_INVALID (400) when it is
 *   malformed or asks for too much, at which clients that know better ask for less
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange[] | undefined {
  if (header === undefined) return undefined;
  const unit = /^\s*([A-Za-z-]+)\s*=/.exec(header);
  if (unit === null) throw invalid('it is malformed');
  if (unit[1]!.toLowerCase() !== 'bytes') return undefined;
  const specs = header.slice(unit[0].length).split(',');
  if (specs.length > rangesMax) throw invalid(`it asks for more than ${rangesMax} ranges`);
  const ranges: ByteRange[] = [];
  let total = 0;
  for (const spec of specs) {
    // Empty elements of a list are legal and mean nothing: RFC 9110, 5.6.1.
    if (spec.trim() === '' && specs.length > 1) continue;
    const range = parseSpec(spec.trim(), sizeBytes);
    if (range === undefined) continue;
    total += range.end - range.start;
    ranges.push(range);
  }
  if (ranges.length === 0) {
    throw new MirrorError(
      'RANGE_UNSATISFIABLE',
      `no requested range lies within the ${sizeBytes} bytes`,
      {
        detail: { sizeBytes },
      },
    );
  }
  if (ranges.length > 1 && total > sizeBytes + overlapBytesMax) {
    throw invalid('its ranges overlap so much that they ask for more than the content');
  }
  return ranges;
}

function parseSpec(spec: string, sizeBytes: number): ByteRange | undefined {
  const match = /^(\d{0,20})-(\d{0,20})$/.exec(spec);
  if (match === null || spec === '-') throw invalid('it is malformed');
  const [, first, last] = match;
  if (first === '') {
    const count = Math.min(Number(last), sizeBytes);
    return count === 0 ? undefined : { start: sizeBytes - count, end: sizeBytes };
  }
  const start = Number(first);
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  return start < end ? { start, end } : undefined;
}

function invalid(why: string): MirrorError {
  return new MirrorError('REQUEST_INVALID', `the Range header cannot be used: ${why}`);
}

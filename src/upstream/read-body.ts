import type { Readable } from 'node:stream';
import { MirrorError } from '../oci/errors.ts';

/** What is small has come by then; a drip without end would hold a connection, and whoever waits. */
const durationMsMax = 60_000;

/**
 * A whole body in memory.
 * @param what the thing, with its article, for the message
 * @throws MirrorError UPSTREAM_INVALID above the limit, UPSTREAM_UNAVAILABLE when it breaks off
 */
export async function readAtMost(
  body: Readable,
  limitBytes: number,
  what: string,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  const timer = setTimeout(() => {
    body.destroy(new Error(`it was not all there after ${durationMsMax} ms`));
  }, durationMsMax);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      total += chunk.length;
      if (total > limitBytes) {
        throw new MirrorError(
          'UPSTREAM_INVALID',
          `upstream sent ${what} of more than ${limitBytes} bytes`,
        );
      }
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof MirrorError) throw cause;
    throw new MirrorError('UPSTREAM_UNAVAILABLE', `upstream broke off in the middle of ${what}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
    body.destroy();
  }
  return Buffer.concat(chunks);
}

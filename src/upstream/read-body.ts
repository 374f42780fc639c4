import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { MirrorError } from '../oci/errors.ts';

/** What is small has come by then; a drip without end would hold a connection, and whoever waits. */
const durationMsMax = 60_000;

/** What is read of a body that nobody wants, and for how long: a new connection costs about as much. */
const discardedBytesMax = 64 * 1024;
const discardedMsMax = 2_000;

/**
 * Ends a body that nobody will read: a small rest is read away, so that the connection can be used
 * again. It holds a place among the requests until it is over.
 */
export function discard(body: Dispatcher.ResponseData['body']): void {
  const signal = AbortSignal.timeout(discardedMsMax);
  body.dump({ limit: discardedBytesMax, signal }).catch(() => {});
}

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

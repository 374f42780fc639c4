import type { ServerResponse } from 'node:http';
import type { Lease, Reader } from '../base/reader.ts';

/** A client that takes nothing for this long is cut; the same time after which a CRI gives up. */
export const stalledClientMs = 300_000;

/**
 * Sends what a reader brings. While one piece is written, the next one is read; a slow client holds
 * these two, and one when shared memory is short.
 * @param sent told of the bytes that the client's connection took
 * @returns whether all went out; false when the client left
 * @throws what the reader throws; the caller ends the connection short
 */
export async function sendBody(
  response: ServerResponse,
  reader: Reader,
  sent: (bytes: number) => void,
): Promise<boolean> {
  let ahead: Promise<Lease | undefined> | undefined;
  // A client that leaves also ends the wait for bytes that have not arrived.
  const leave = (): void => reader.close();
  response.once('close', leave);
  try {
    for (;;) {
      const lease = await (ahead ?? reader.next());
      ahead = undefined;
      if (lease === undefined) return !response.destroyed;
      if (lease.isShared) ahead = reader.next();
      // Its error is met when it is awaited.
      ahead?.catch(() => {});
      const isTaken = await write(response, lease.bytes);
      lease.release();
      if (!isTaken) return false;
      sent(lease.bytes.length);
    }
  } finally {
    response.off('close', leave);
    reader.close();
    ahead?.then(
      (lease) => lease?.release(),
      () => {},
    );
  }
}

/** Resolves when the bytes may be reused: the kernel has them (true) or the client is gone (false). */
function write(response: ServerResponse, bytes: Uint8Array): Promise<boolean> {
  if (response.destroyed) return Promise.resolve(false);
  return new Promise((resolve) => {
    response.write(bytes, (error) => resolve(error === null || error === undefined));
  });
}

import type { ServerResponse } from 'node:http';
import type { Lease, Reader } from '../base/reader.ts';

/** A client that takes nothing for this long is cut; the same time after which a CRI gives up. */
export const stalledClientMs = 300_000;

/**
 * Sends what a reader brings. While one piece is written, the next one is read; a slow client holds
 * these two, and one when shared memory is short.
 * @returns how many bytes the client's connection took; fewer than the reader has when it left
 * @throws what the reader throws; the caller ends the connection short
 */
export async function sendBody(response: ServerResponse, reader: Reader): Promise<number> {
  let sentBytes = 0;
  let ahead: Promise<Lease | undefined> | undefined;
  // A client that leaves also ends the wait for bytes that have not arrived.
  const leave = (): void => reader.close();
  response.once('close', leave);
  try {
    for (;;) {
      const lease = await (ahead ?? reader.next());
      ahead = undefined;
      if (lease === undefined) return sentBytes;
      if (lease.isShared) ahead = reader.next();
      // Its error is met when it is awaited.
      ahead?.catch(() => {});
      const isTaken = await write(response, lease.bytes);
      lease.release();
      if (!isTaken) return sentBytes;
      sentBytes += lease.bytes.length;
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

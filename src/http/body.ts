import type { ServerResponse } from 'node:http';
import type { Lease, Reader } from '../base/reader.ts';

/** A client that takes nothing for this long is cut; the same time after which a CRI gives up. */
export const stalledClientMs = 300_000;

/** Clients that the kernel keeps bytes for: with more than these, memory for sockets becomes short. */
const waitingMax = 64;

/**
 * What is written at once then, two receive windows. Linux under memory pressure leaves those at 64 KiB
 * (tcp_input.c, `tcp_grow_window`), and a write holds its socket until all of it is copied: the client's
 * acknowledgements wait for that, the client sleeps, and waking it for each window is most of the work.
 * A short write lets the client go on with what is queued. Four times as many system calls are the
 * price, so it is not paid while few are waiting.
 */
const crowdedPieceBytes = 128 * 1024;

/** Sends the bodies of all answers. */
export class BodySender {
  /** Writes that the kernel has not taken whole. */
  #waiting = 0;

  /**
   * Sends what a reader brings. While one piece is written, the next one is read; a slow client holds
   * these two, and one when shared memory is short.
   * @param sent told of the bytes that the client's connection took
   * @returns whether all went out; false when the client left
   * @throws what the reader throws; the caller ends the connection short
   */
  async send(
    response: ServerResponse,
    reader: Reader,
    sent: (bytes: number) => void,
  ): Promise<boolean> {
    let ahead: Promise<Lease | undefined> | undefined;
    // A client that leaves also ends the wait for bytes that have not arrived.
    const leave = (): void => reader.close();
    response.once('close', leave);
    // One that left before its answer began does not say so again.
    if (response.destroyed) leave();
    try {
      for (;;) {
        const lease = await (ahead ?? reader.next());
        ahead = undefined;
        if (lease === undefined) return !response.destroyed;
        if (lease.isShared) ahead = reader.next();
        // Its error is met when it is awaited.
        ahead?.catch(() => {});
        const isTaken = await this.#write(response, lease.bytes);
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
  async #write(response: ServerResponse, bytes: Uint8Array): Promise<boolean> {
    for (let at = 0; at < bytes.length;) {
      const isCrowded = this.#waiting > waitingMax;
      const piece = isCrowded ? bytes.subarray(at, at + crowdedPieceBytes) : bytes.subarray(at);
      this.#waiting += 1;
      const isTaken = await write(response, piece);
      this.#waiting -= 1;
      if (!isTaken) return false;
      at += piece.length;
    }
    return true;
  }
}

function write(response: ServerResponse, bytes: Uint8Array): Promise<boolean> {
  if (response.destroyed) return Promise.resolve(false);
  return new Promise((resolve) => {
    response.write(bytes, (error) => resolve(error === null || error === undefined));
  });
}

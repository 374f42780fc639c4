import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import type { Reader } from '../../src/base/reader.ts';
import { BodySender } from '../../src/http/body.ts';

const leaseBytes = 512 * 1024;

/** One full lease. */
function readerOfOne(): Reader {
  const leases = [{ bytes: Buffer.alloc(leaseBytes), isShared: false, release: () => {} }];
  return { next: async () => leases.pop(), close: () => {} };
}

/** A connection that takes everything at once, or nothing; notes what is written at once. */
function startResponse(isStalled: boolean): {
  readonly response: ServerResponse;
  readonly written: number[];
  readonly leave: () => void;
} {
  const written: number[] = [];
  let taken: (error?: Error) => void = () => {};
  const response = Object.assign(new EventEmitter(), {
    destroyed: false,
    write: (bytes: Uint8Array, callback: (error?: Error) => void) => {
      written.push(bytes.length);
      if (isStalled) taken = callback;
      else callback();
    },
  });
  return {
    response: response as unknown as ServerResponse,
    written,
    leave: () => taken(new Error('the client has left')),
  };
}

test('with many clients that take nothing, the others are written to in short pieces, until those leave', async () => {
  const bodies = new BodySender();
  const writeToOne = async (): Promise<number[]> => {
    const { response, written } = startResponse(false);
    assert.equal(await bodies.send(response, readerOfOne(), () => {}), true);
    return written;
  };
  assert.deepEqual(await writeToOne(), [leaseBytes]);

  const stalled = Array.from({ length: 65 }, () => startResponse(true));
  const endings = stalled.map(({ response }) => bodies.send(response, readerOfOne(), () => {}));
  await new Promise(setImmediate);
  const pieces = await writeToOne();

  assert.deepEqual(
    pieces,
    Array.from({ length: 4 }, () => leaseBytes / 4),
  );
  for (const { leave } of stalled) leave();
  assert.deepEqual(
    await Promise.all(endings),
    stalled.map(() => false),
  );
  assert.deepEqual(await writeToOne(), [leaseBytes]);
});

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { chunkBytes } from '../../src/store/chunk-cache.ts';
import { Hashing } from '../../src/store/hashing.ts';
import { makeBlob } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

interface HashBench extends AsyncDisposable {
  readonly hashing: Hashing;
  readonly fd: number;
}

async function startHashing(bytes: Uint8Array, threads = 2): Promise<HashBench> {
  const folder = await temporaryFolder();
  const file = join(folder.path, 'file');
  writeFileSync(file, bytes);
  const hashing = new Hashing(threads);
  const fd = openSync(file, 'r');
  return {
    hashing,
    fd,
    [Symbol.asyncDispose]: async () => {
      await hashing.close();
      closeSync(fd);
      await folder[Symbol.asyncDispose]();
    },
  };
}

const { bytes } = makeBlob('hashed', 3_000_001);

function hexOf(algorithm: 'sha256' | 'sha512', part: Uint8Array): string {
  return createHash(algorithm).update(part).digest('hex');
}

describe('hashing', () => {
  for (const algorithm of ['sha256', 'sha512'] as const) {
    test(`${algorithm} of a file that grows is that of the whole`, async () => {
      await using it = await startHashing(bytes);
      const run = it.hashing.start(algorithm, it.fd);

      for (let at = 0; at < bytes.length; at += 777_777) {
        run.update(at, Math.min(bytes.length, at + 777_777));
      }

      assert.equal((await run.digest()).hex, hexOf(algorithm, bytes));
    });
  }

  test('many runs at once on few threads do not mix', async () => {
    await using it = await startHashing(bytes);
    const ends = Array.from({ length: 20 }, (_, at) => 1 + at * 100_000);
    const runs = ends.map((end) => ({ end, run: it.hashing.start('sha256', it.fd) }));

    for (const { end, run } of runs) run.update(0, end >> 1);
    for (const { end, run } of runs) run.update(end >> 1, end);

    const found = await Promise.all(runs.map(({ run }) => run.digest()));
    assert.deepEqual(
      found.map(({ hex }) => hex),
      ends.map((end) => hexOf('sha256', bytes.subarray(0, end))),
    );
  });

  for (const sizeBytes of [1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3_000_001]) {
    test(`of ${sizeBytes} bytes each chunk gets its CRC-32, however they are cut`, async () => {
      await using it = await startHashing(bytes);
      const run = it.hashing.start('sha256', it.fd);

      for (let at = 0; at < sizeBytes; at += 300_007) {
        run.update(at, Math.min(sizeBytes, at + 300_007));
      }

      const expected: number[] = [];
      for (let at = 0; at < sizeBytes; at += chunkBytes) {
        expected.push(crc32(bytes.subarray(at, Math.min(sizeBytes, at + chunkBytes))));
      }
      assert.deepEqual([...(await run.digest()).crcs], expected);
    });
  }

  test('a file that ends too early is an error, and the thread goes on with others', async () => {
    await using it = await startHashing(bytes, 1);
    const short = it.hashing.start('sha256', it.fd);
    short.update(0, bytes.length + 1);

    await assert.rejects(short.digest(), /ends at byte 3000001/);

    const next = it.hashing.start('sha256', it.fd);
    next.update(0, 10);
    assert.equal((await next.digest()).hex, hexOf('sha256', bytes.subarray(0, 10)));
  });

  test('what is cancelled ends, and leaves no trace in the next run', async () => {
    await using it = await startHashing(bytes, 1);
    const cancelled = it.hashing.start('sha256', it.fd);
    cancelled.update(0, 1_000);
    await cancelled.cancel();

    const next = it.hashing.start('sha256', it.fd);
    next.update(0, 10);

    assert.equal((await next.digest()).hex, hexOf('sha256', bytes.subarray(0, 10)));
  });

  test('who waits when the threads are closed gets an error, not silence', async () => {
    await using it = await startHashing(bytes, 1);
    const run = it.hashing.start('sha256', it.fd);
    run.update(0, bytes.length);
    const failing = assert.rejects(run.digest(), /ended/);

    await it.hashing.close();

    await failing;
  });

  test('who asks a thread that has ended gets an error, too', async () => {
    await using it = await startHashing(bytes, 1);
    const [run, other] = [it.hashing.start('sha256', it.fd), it.hashing.start('sha256', it.fd)];
    run.update(0, bytes.length);

    await it.hashing.close();

    await assert.rejects(run.digest(), /ended/);
    await assert.rejects(other.cancel(), /ended/);
  });
});

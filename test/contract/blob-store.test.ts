import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { parseDigest } from '../../src/oci/digest.ts';
import { MirrorError } from '../../src/oci/errors.ts';
import { chunkBytes } from '../../src/store/chunk-cache.ts';
import { systemDisk, type Disk } from '../../src/store/disk.ts';
import { makeBlob } from '../kit/images.ts';
import {
  assertSame,
  drain,
  drainUntilFailure,
  nextWait,
  openTestStore,
  put,
  take,
  write,
} from './test-store.ts';

const down = new MirrorError('UPSTREAM_UNAVAILABLE', 'upstream broke off');

describe('a blob that arrives', () => {
  for (const sizeBytes of [1, 4_096, chunkBytes, chunkBytes + 1, 5 * chunkBytes + 17]) {
    test(`of ${sizeBytes} bytes is found afterwards, byte for byte`, async () => {
      await using it = await openTestStore();
      const blob = makeBlob(sizeBytes, sizeBytes);

      assert.equal(await it.store.has(blob.digest), false);
      await put(it.store, blob);

      assert.equal(await it.store.has(blob.digest), true);
      assertSame(await take(it.store, blob.digest), blob.bytes);
    });
  }

  test('out of order, from several writers, reaches a reader in order', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('parts', 6 * chunkBytes + 17);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const reading = drain(ingest.read({ start: 0, end: blob.bytes.length }));
    const part = (from: number, to: number): Promise<void> =>
      write(ingest, from * chunkBytes, blob.bytes.subarray(from * chunkBytes, to * chunkBytes));

    await Promise.all([part(5, 7), part(3, 5)]);
    await Promise.all([part(1, 3), part(0, 1)]);
    await ingest.complete();

    assertSame(await reading, blob.bytes);
    await ingest.committed;
    assertSame(await take(it.store, blob.digest), blob.bytes);
  });

  test('is read as it grows, before anything of it is on the disk', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('grows', 3 * chunkBytes);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const writer = ingest.writer(0);
    const reader = ingest.read({ start: 0, end: blob.bytes.length });
    const waits = nextWait(ingest);
    const first = reader.next();
    assert.equal(await waits, 0);

    await writer.append(blob.bytes.subarray(0, 10));
    const lease = await first;

    assertSame(lease?.bytes, blob.bytes.subarray(0, 10));
    lease?.release();
    reader.close();
    await ingest.fail(down);
  });

  test('serves readers that begin anywhere, each at its own pace', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('paces', 4 * chunkBytes);
    const size = blob.bytes.length;
    const ingest = await it.store.ingest(blob.digest, size);
    const starts = [0, 1, 1_000, chunkBytes - 1, 2 * chunkBytes, size - 1];
    const early = starts.map((start) => drain(ingest.read({ start, end: size })));

    await write(ingest, 0, blob.bytes);
    const late = starts.map((start) => drain(ingest.read({ start, end: size })));
    await ingest.complete();

    for (const readings of [early, late]) {
      const bodies = await Promise.all(readings);
      for (const [at, body] of bodies.entries()) {
        assertSame(body, blob.bytes.subarray(starts[at]));
      }
    }
  });

  test('a reader that leaves while it waits is let go, and harms nobody', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('leaves', 1_000);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const reader = ingest.read({ start: 0, end: 1_000 });
    const waits = nextWait(ingest);
    const waiting = reader.next();
    await waits;

    reader.close();

    assert.equal(await waiting, undefined);
    assert.deepEqual(ingest.waitingPositions(), []);
    await write(ingest, 0, blob.bytes);
    await ingest.complete();
    await ingest.committed;
  });

  test('goes on in the middle of a chunk where a connection broke, and every reader sees all of it', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('resumed', 3 * chunkBytes);
    const broken = chunkBytes + 1_000;
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    await write(ingest, 0, blob.bytes.subarray(0, broken));
    await write(ingest, 2 * chunkBytes, blob.bytes.subarray(2 * chunkBytes));
    const resumed = ingest.writer(broken);
    // Not enough for a write: these are in memory only, their elder neighbours on the disk.
    await resumed.append(blob.bytes.subarray(broken, broken + 500));

    const body = await drain(ingest.read({ start: chunkBytes, end: broken + 500 }));

    assertSame(body, blob.bytes.subarray(chunkBytes, broken + 500));
    await ingest.fail(down);
  });

  test('is never read as zeros where bytes are in memory and not on the disk yet', async () => {
    await using it = await openTestStore({ cacheBytes: chunkBytes });
    const blob = makeBlob('sparse', 3 * chunkBytes);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    await write(ingest, 0, blob.bytes.subarray(0, chunkBytes));
    await write(ingest, 2 * chunkBytes, blob.bytes.subarray(2 * chunkBytes));
    // This writer has all the memory there is, so readers take the file.
    await ingest.writer(chunkBytes).append(blob.bytes.subarray(chunkBytes, chunkBytes + 100));

    const body = await drain(ingest.read({ start: chunkBytes - 10, end: chunkBytes + 100 }));

    assertSame(body, blob.bytes.subarray(chunkBytes - 10, chunkBytes + 100));
    await ingest.fail(down);
  });

  test('arrives whole when there is no memory for it at all', async () => {
    await using it = await openTestStore({ cacheBytes: 0 });
    const blob = makeBlob('no memory', 4 * chunkBytes + 5);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const readings = [0, 3, chunkBytes + 1].map((start) =>
      drain(ingest.read({ start, end: blob.bytes.length })),
    );

    await write(ingest, 0, blob.bytes);
    await ingest.complete();

    const [whole, third, middle] = await Promise.all(readings);
    assertSame(whole, blob.bytes);
    assertSame(third, blob.bytes.subarray(3));
    assertSame(middle, blob.bytes.subarray(chunkBytes + 1));
  });

  test('may keep its size for itself until the end', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('unannounced', 2 * chunkBytes + 9);
    const ingest = await it.store.ingest(blob.digest, undefined);

    await write(ingest, 0, blob.bytes);
    ingest.setSize(blob.bytes.length);
    await ingest.complete();
    await ingest.committed;

    assert.equal(await ingest.sizeKnown, blob.bytes.length);
    assertSame(await take(it.store, blob.digest), blob.bytes);
  });

  test('cannot be longer than announced', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('longer', 1_001);
    const ingest = await it.store.ingest(blob.digest, 1_000);
    const writer = ingest.writer(0);
    await writer.append(blob.bytes.subarray(0, 1_000));

    assert.throws(() => writer.append(blob.bytes.subarray(1_000)), { code: 'UPSTREAM_INVALID' });

    await ingest.fail(down);
  });

  test('with a SHA-512 digest is held to that, small and large', async () => {
    await using it = await openTestStore();
    for (const sizeBytes of [100, 3 * chunkBytes]) {
      const { bytes } = makeBlob('sha512', sizeBytes);
      const hex = createHash('sha512').update(bytes).digest('hex');
      const digest = parseDigest(`sha512:${hex}`);

      await put(it.store, { digest, bytes });

      assertSame(await take(it.store, digest), bytes);
      assert.ok((await it.files()).includes(`blobs/sha512/${hex.slice(0, 2)}/${hex}`));
    }
  });

  test('may be empty', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('empty', 0);

    await put(it.store, blob);

    assertSame(await take(it.store, blob.digest), Buffer.alloc(0));
    await it.reopen();
    assert.equal(await it.store.has(blob.digest), true);
  });

  test('may arrive twice at once: both end well, one is kept', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('twice', 2 * chunkBytes);

    await Promise.all([put(it.store, blob), put(it.store, blob)]);

    assertSame(await take(it.store, blob.digest), blob.bytes);
    assert.equal((await it.files()).length, 1);
    assert.equal(it.store.usedBytes, blob.bytes.length);
  });
});

describe('the last bytes', () => {
  for (const sizeBytes of [100, 2 * chunkBytes + 100]) {
    test(`of a whole read of ${sizeBytes} bytes wait for the digest`, async () => {
      await using it = await openTestStore();
      const blob = makeBlob('whole', sizeBytes);
      const ingest = await it.store.ingest(blob.digest, sizeBytes);
      await write(ingest, 0, blob.bytes);
      const waits = nextWait(ingest);

      const reading = drain(ingest.read({ start: 0, end: sizeBytes }));
      const waitedAt = await waits;
      assert.equal(ingest.isVerified, false);
      await ingest.complete();

      assert.ok(waitedAt < sizeBytes);
      assertSame(await reading, blob.bytes);
    });
  }

  test('wait, too, when a client goes on where its earlier download was cut', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('goes on', 100_000);
    const ingest = await it.store.ingest(blob.digest, 100_000);
    await write(ingest, 0, blob.bytes);
    const waits = nextWait(ingest);

    const reading = drain(ingest.read({ start: 60_000, end: 100_000 }));
    const waitedAt = await waits;
    await ingest.complete();

    assert.ok(waitedAt < 100_000);
    assertSame(await reading, blob.bytes.subarray(60_000));
  });

  test('of a range from the middle of a cold blob do not: they complete nothing', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('tail', 3 * chunkBytes);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const start = 2 * chunkBytes;
    const reading = drain(ingest.read({ start, end: blob.bytes.length }));

    await write(ingest, start, blob.bytes.subarray(start));

    assertSame(await reading, blob.bytes.subarray(start));
    assert.equal(ingest.isVerified, false);
    await ingest.fail(down);
  });

  test('do not wait for the disk: they go out while the file is still synced', async () => {
    const synced = Promise.withResolvers<void>();
    const disk: Disk = {
      ...systemDisk,
      rename: async (from, to) => {
        await synced.promise;
        await systemDisk.rename(from, to);
      },
    };
    await using it = await openTestStore({ disk });
    const blob = makeBlob('synced', 2 * chunkBytes);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const reading = drain(ingest.read({ start: 0, end: blob.bytes.length }));

    await write(ingest, 0, blob.bytes);
    await ingest.complete();

    assertSame(await reading, blob.bytes);
    assert.equal(await it.store.has(blob.digest), false);
    synced.resolve();
    await ingest.committed;
    assert.equal(await it.store.has(blob.digest), true);
  });
});

describe('content with the wrong digest', () => {
  for (const sizeBytes of [1, 5_000, 2 * chunkBytes + 100]) {
    test(`of ${sizeBytes} bytes reaches nobody whole, and is not kept`, async () => {
      await using it = await openTestStore();
      const { digest } = makeBlob('right', sizeBytes);
      const wrong = makeBlob('wrong', sizeBytes).bytes;
      const ingest = await it.store.ingest(digest, sizeBytes);
      const range = { start: 0, end: sizeBytes };
      const early = drainUntilFailure(ingest.read(range));
      await write(ingest, 0, wrong);
      const late = drainUntilFailure(ingest.read(range));

      await assert.rejects(ingest.complete(), { code: 'CONTENT_CORRUPT' });

      const after = drainUntilFailure(ingest.read(range));
      for (const { bytes, failure } of await Promise.all([early, late, after])) {
        assert.ok(bytes.length < sizeBytes);
        assert.equal((failure as MirrorError).code, 'CONTENT_CORRUPT');
      }
      await assert.rejects(ingest.committed, { code: 'CONTENT_CORRUPT' });
      assert.equal(await it.store.has(digest), false);
      assert.deepEqual(await it.files(), []);
      assert.equal(it.store.usedBytes, 0);
    });
  }

  test('may be right the next time', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('right', 3_000);
    const first = await it.store.ingest(blob.digest, 3_000);
    await write(first, 0, makeBlob('wrong', 3_000).bytes);
    await assert.rejects(first.complete());

    await put(it.store, blob);

    assertSame(await take(it.store, blob.digest), blob.bytes);
  });

  test('an empty body is not content of another digest', async () => {
    await using it = await openTestStore();
    const ingest = await it.store.ingest(makeBlob('something', 10).digest, 0);

    await assert.rejects(ingest.complete(), { code: 'CONTENT_CORRUPT' });
  });
});

describe('a transfer that fails', () => {
  test('gives its readers what is here, then the reason, and leaves no file', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('fails', 3 * chunkBytes);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    const reading = drainUntilFailure(ingest.read({ start: 0, end: blob.bytes.length }));
    await write(ingest, 0, blob.bytes.subarray(0, chunkBytes + 10));

    await ingest.fail(down);

    const { bytes, failure } = await reading;
    assertSame(bytes, blob.bytes.subarray(0, chunkBytes + 10));
    assert.equal(failure, down);
    await assert.rejects(ingest.committed, down);
    assert.deepEqual(await it.files(), []);
    assert.equal(it.store.usedBytes, 0);
  });

  test('takes no more bytes, and fails once only', async () => {
    await using it = await openTestStore();
    const ingest = await it.store.ingest(makeBlob('over', 10).digest, 10);
    const writer = ingest.writer(0);

    await ingest.fail(down);
    await ingest.fail(new Error('another'));

    assert.throws(() => writer.append(Buffer.alloc(1)), down);
    await assert.rejects(ingest.committed, down);
  });

  for (const call of ['write', 'datasync'] as const) {
    test(`because the disk is full at its ${call} says so, and leaves no file`, async () => {
      const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      const disk: Disk = {
        ...systemDisk,
        open: async (path, flags) => {
          const file = await systemDisk.open(path, flags);
          // A decorator by prototype: the methods of a system file need their own `this`.
          return Object.assign(Object.create(file), {
            read: file.read.bind(file),
            write: file.write.bind(file),
            datasync: file.datasync.bind(file),
            close: file.close.bind(file),
            [call]: () => Promise.reject(full),
          });
        },
      };
      await using it = await openTestStore({ disk });
      const blob = makeBlob('full', 3 * chunkBytes);
      const ingest = await it.store.ingest(blob.digest, blob.bytes.length);

      const ending = write(ingest, 0, blob.bytes).then(() => ingest.complete());
      await ending.catch(() => {});

      await assert.rejects(ingest.committed, { code: 'DISK_FAILED' });
      assert.equal(await it.store.has(blob.digest), false);
      assert.deepEqual(await it.files(), []);
      assert.match(it.observedOf('store-failed')[0]?.message ?? '', /no space left/);
    });
  }
});

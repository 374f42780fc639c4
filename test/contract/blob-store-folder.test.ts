import assert from 'node:assert/strict';
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import type { Digest } from '../../src/oci/digest.ts';
import { chunkBytes } from '../../src/store/chunk-cache.ts';
import { systemDisk, type Disk } from '../../src/store/disk.ts';
import { makeBlob } from '../kit/images.ts';
import { assertSame, drain, openTestStore, put, take, tellingClose, write } from './test-store.ts';

const kib = 1024;

/** Where a blob lies below the store's folder. */
function pathOf(digest: Digest): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  return join('blobs', algorithm, hex.slice(0, 2), hex);
}

describe('a blob that is removed', () => {
  test('is gone, from the disk and the count, and can be removed twice', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('removed', 10 * kib);
    await put(it.store, blob);

    await it.store.remove(blob.digest);
    await it.store.remove(blob.digest);

    assert.equal(await it.store.find(blob.digest), undefined);
    assert.deepEqual(await it.files(), []);
    assert.equal(it.store.usedBytes, 0);
  });

  test('is not found by who was just opening it, and not counted', async () => {
    let open = 0;
    const opened = Promise.withResolvers<void>();
    const removed = Promise.withResolvers<void>();
    const disk: Disk = {
      ...systemDisk,
      open: async (path, flags) => {
        const file = await systemDisk.open(path, flags);
        if (flags !== 'r') return file;
        open += 1;
        opened.resolve();
        await removed.promise;
        return tellingClose(file, () => {
          open -= 1;
        });
      },
    };
    await using it = await openTestStore({ disk });
    const blob = makeBlob('opened late', 10 * kib);
    await put(it.store, blob);
    await it.restart();

    const finding = it.store.find(blob.digest);
    await opened.promise;
    await it.store.remove(blob.digest);
    removed.resolve();

    assert.equal(await finding, undefined);
    await it.restart();
    assert.deepEqual([open, it.store.usedBytes], [0, 0]);
  });

  test('stays readable for those who have it open', async () => {
    await using it = await openTestStore({ cacheBytes: 0 });
    const blob = makeBlob('open', 300 * kib);
    await put(it.store, blob);
    const stored = await it.store.find(blob.digest);
    assert.ok(stored !== undefined);
    const reader = stored.read({ start: 0, end: stored.sizeBytes });
    stored.close();

    await it.store.remove(blob.digest);

    assertSame(await drain(reader), blob.bytes);
  });
});

describe('opened again, the folder', () => {
  test('is refused while another has it, and free when that one has closed it', async () => {
    await using it = await openTestStore();
    const again = (): ReturnType<typeof openTestStore> =>
      openTestStore({ storagePath: dirname(it.folder) });

    await assert.rejects(again(), {
      code: 'DISK_FAILED',
      message: /another process uses the storage folder .*storage\.path/,
    });

    await it.restart();
  });

  test('still has what was committed, and counts it', async () => {
    await using it = await openTestStore();
    const blobs = [1, 2, 3].map((seed) => makeBlob(seed, seed * 10 * kib));
    for (const blob of blobs) await put(it.store, blob);

    await it.reopen();

    for (const { digest, bytes } of blobs) assertSame(await take(it.store, digest), bytes);
    const walked = new Map<Digest, number>();
    for await (const { digest, size } of it.store.walk()) walked.set(digest, size);
    assert.deepEqual(walked, new Map(blobs.map(({ digest, bytes }) => [digest, bytes.length])));
    const ready = it.observedOf('store-ready').at(-1);
    // In whole blocks of 4 KiB.
    assert.deepEqual([ready?.blobs, ready?.sizeBytes], [3, (12 + 20 + 32) * kib]);
  });

  test('has nothing of what was half done', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('half', 300 * kib);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    await write(ingest, 0, blob.bytes.subarray(0, 299 * kib));
    assert.equal((await it.files()).length, 1);

    await it.reopen();

    assert.equal(await it.store.find(blob.digest), undefined);
    assert.deepEqual(await it.files(), []);
    assert.equal(it.store.usedBytes, 0);
    assert.equal(it.observedOf('store-ready').at(-1)?.removedPartials, 1);
    await put(it.store, blob);
    assertSame(await take(it.store, blob.digest), blob.bytes);
  });

  test('leaves files alone that are not its own, and does not count them as blobs', async () => {
    await using it = await openTestStore();
    const foreign = [
      'blobs/sha256/README',
      `blobs/sha256/ab/${'AB'.repeat(32)}`,
      `blobs/md5/ab/${'ab'.repeat(16)}`,
    ];
    for (const path of foreign) {
      await mkdir(join(it.folder, dirname(path)), { recursive: true });
      await writeFile(join(it.folder, path), 'mine');
    }

    await it.reopen();

    assert.deepEqual(await it.files(), [...foreign].sort());
    const ready = it.observedOf('store-ready').at(-1);
    assert.deepEqual([ready?.blobs, ready?.foreignFiles], [0, 3]);
  });

  test('evicts what was there before, by when it was used', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });
    const blobs = [1, 2, 3].map((seed) => makeBlob(seed, 100 * kib));
    for (const blob of blobs) await put(it.store, blob);

    await it.reopen();
    await take(it.store, blobs[0]!.digest);
    await put(it.store, makeBlob(4, 100 * kib));

    assert.equal(await it.store.has(blobs[0]!.digest), true);
    assert.equal(it.observedOf('evicted').length, 1);
  });

  test('is for its owner only: a cache may hold private images', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('private', 10);
    await put(it.store, blob);

    for (const path of [pathOf(blob.digest), dirname(pathOf(blob.digest)), 'tmp', 'blobs/sha256']) {
      const { mode } = await stat(join(it.folder, path));
      assert.equal(mode & 0o077, 0, path);
    }
  });

  test('that cannot be made is an error that says what to check', async () => {
    const disk: Disk = {
      ...systemDisk,
      makeFolder: () => Promise.reject(new Error('EACCES: permission denied')),
    };

    await assert.rejects(openTestStore({ disk }), {
      code: 'DISK_FAILED',
      message: /permission denied.*storage\.path/,
    });
  });
});

describe('what somebody planted in the folder', () => {
  const blob = makeBlob('planted', 100);

  test('a link in the place of a blob is not followed, and is replaced when the blob arrives', async () => {
    await using it = await openTestStore();
    const target = join(it.folder, pathOf(blob.digest));
    const outside = join(it.folder, '..', 'outside');
    await writeFile(outside, blob.bytes);
    await mkdir(dirname(target), { recursive: true });
    await symlink(outside, target);

    assert.equal(await it.store.find(blob.digest), undefined);
    assert.equal(await it.store.has(blob.digest), false);
    await put(it.store, blob);
    await it.store.remove(blob.digest);

    assertSame(await readFile(outside), blob.bytes);
  });

  test('a link in the place of a partial is not written through', async () => {
    await using it = await openTestStore();
    const outside = join(it.folder, '..', 'outside');
    await writeFile(outside, 'precious');
    for (let name = 1; name <= 3; name += 1) {
      await symlink(outside, join(it.folder, 'tmp', String(name)));
    }

    await assert.rejects(it.store.ingest(blob.digest, 100), { code: 'DISK_FAILED' });

    assert.equal(await readFile(outside, 'utf8'), 'precious');
  });

  test('a folder in the place of a blob is a miss', async () => {
    await using it = await openTestStore();
    await mkdir(join(it.folder, pathOf(blob.digest)), { recursive: true });

    assert.equal(await it.store.find(blob.digest), undefined);
    assert.equal(await it.store.has(blob.digest), false);
  });

  test('links are not counted, and not walked', async () => {
    await using it = await openTestStore();
    await mkdir(join(it.folder, dirname(pathOf(blob.digest))), { recursive: true });
    await symlink('/etc/passwd', join(it.folder, pathOf(blob.digest)));

    await it.reopen();

    assert.equal(it.observedOf('store-ready').at(-1)?.blobs, 0);
    for await (const { digest } of it.store.walk()) assert.fail(digest);
  });
});

describe('a stored blob', () => {
  test('is read in any part, with memory and without', async () => {
    for (const cacheBytes of [0, 256 * kib, 64 * kib * kib]) {
      await using it = await openTestStore({ cacheBytes });
      const blob = makeBlob('parts', 1_000 * kib + 3);
      await put(it.store, blob);
      const stored = await it.store.find(blob.digest);
      assert.ok(stored !== undefined);

      for (const [start, end] of [
        [0, 1],
        [0, blob.bytes.length],
        [256 * kib - 1, 256 * kib + 1],
        [1, 999 * kib],
        [blob.bytes.length - 1, blob.bytes.length],
        [5, 5],
      ] as const) {
        assertSame(await drain(stored.read({ start, end })), blob.bytes.subarray(start, end));
      }
      stored.close();
    }
  });

  test('that was cut short on the disk is an error, never a short body', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('cut', 600 * kib);
    await put(it.store, blob);
    await it.reopen();
    const stored = await it.store.find(blob.digest);
    assert.ok(stored !== undefined);
    await writeFile(join(it.folder, pathOf(blob.digest)), blob.bytes.subarray(0, 300 * kib));

    const reading = drain(stored.read({ start: 0, end: stored.sizeBytes }));

    await assert.rejects(reading, { code: 'DISK_FAILED' });
    stored.close();
  });

  test('costs one read of the disk a chunk, however many read it at once', async () => {
    let reads = 0;
    const disk: Disk = {
      ...systemDisk,
      open: async (path, flags) => {
        const file = await systemDisk.open(path, flags);
        const read = file.read.bind(file);
        return Object.assign(file, {
          read: (...args: Parameters<typeof read>) => {
            reads += 1;
            return read(...args);
          },
        });
      },
    };
    await using it = await openTestStore({ disk });
    const blob = makeBlob('shared', 4 * chunkBytes);
    await put(it.store, blob);
    await it.reopen();
    const stored = await it.store.find(blob.digest);
    assert.ok(stored !== undefined);

    const bodies = await Promise.all(
      Array.from({ length: 50 }, () => drain(stored.read({ start: 0, end: stored.sizeBytes }))),
    );

    for (const body of bodies) assertSame(body, blob.bytes);
    assert.equal(reads, 4);
    stored.close();
  });
});

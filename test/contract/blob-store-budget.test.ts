import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MirrorError } from '../../src/oci/errors.ts';
import { systemDisk, type Disk } from '../../src/store/disk.ts';
import { pathOfBlob } from '../../src/store/folder/layout.ts';
import { makeBlob } from '../kit/images.ts';
import { until } from '../kit/wait-for.ts';
import { assertSame, drain, openTestStore, put, take, write } from './test-store.ts';

const kib = 1024;

/** A disk on which the first files that are unlinked are gone before anybody is told. */
function holdUnlinking(): { disk: Disk; begun: Promise<void>; release: () => void } {
  const begun = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const disk: Disk = {
    ...systemDisk,
    unlinkAll: async (paths) => {
      const results = await systemDisk.unlinkAll(paths);
      begun.resolve();
      await released.promise;
      return results;
    },
  };
  return { disk, begun: begun.promise, release: released.resolve };
}

describe('the budget', () => {
  const a = makeBlob('a', 100 * kib);
  const b = makeBlob('b', 100 * kib);
  const c = makeBlob('c', 100 * kib);
  const d = makeBlob('d', 100 * kib);

  test('holds: the least recently used goes, what was just read stays', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });
    for (const blob of [a, b, c]) await put(it.store, blob);
    await take(it.store, a.digest);

    await put(it.store, d);

    assert.deepEqual(await Promise.all([a, b, c, d].map(({ digest }) => it.store.has(digest))), [
      true,
      false,
      true,
      true,
    ]);
    assert.ok(it.store.usedBytes <= 300 * kib);
    const evicted = it.observedOf('evicted');
    assert.deepEqual(
      evicted.map(({ digest, sizeBytes }) => [digest, sizeBytes]),
      [[b.digest, 100 * kib]],
    );
    assert.ok(!(await it.files()).includes(pathOfBlob('', b.digest)));
  });

  test('passes over what a client reads, down to its last byte', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });
    for (const blob of [a, b, c]) await put(it.store, blob);
    const stored = await it.store.find(a.digest);
    assert.ok(stored !== undefined);
    const reader = stored.read({ start: 0, end: stored.sizeBytes });
    for (const blob of [b, c]) await take(it.store, blob.digest);

    await put(it.store, d);

    assert.equal(await it.store.has(a.digest), true);
    assert.equal(await it.store.has(b.digest), false);
    assertSame(await drain(reader), a.bytes);
    stored.close();
  });

  test('is not exceeded: when all is in use, there is no space for more', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 100 * kib } });
    await put(it.store, a);
    const stored = await it.store.find(a.digest);
    assert.ok(stored !== undefined);
    const reader = stored.read({ start: 0, end: stored.sizeBytes });

    await assert.rejects(it.store.ingest(b.digest, 100 * kib), { code: 'DISK_FAILED' });

    reader.close();
    stored.close();
    await put(it.store, b);
    assert.equal(await it.store.has(a.digest), false);
  });

  test('passes over what is pinned, however long ago it was used', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });
    for (const blob of [a, b, c]) await put(it.store, blob);
    it.store.keepPinned((digest) => digest === a.digest || digest === b.digest);

    await put(it.store, d);

    assert.deepEqual(
      it.observedOf('evicted').map(({ digest }) => digest),
      [c.digest],
    );
  });

  test('refuses what is larger than all of it, and evicts nothing in vain', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });
    await put(it.store, a);

    await assert.rejects(it.store.ingest(b.digest, 301 * kib), { code: 'DISK_FAILED' });

    assert.equal(await it.store.has(a.digest), true);
  });

  test('counts what is arriving, and no longer when it has failed', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });
    const arriving = await it.store.ingest(a.digest, 300 * kib);

    await assert.rejects(it.store.ingest(b.digest, 1), { code: 'DISK_FAILED' });
    await arriving.fail(new MirrorError('CANCELLED', 'nobody waits'));

    await put(it.store, b);
    assert.equal(it.store.usedBytes, 100 * kib);
  });

  test('holds for those that begin at the same moment, too', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib } });

    const begun = await Promise.allSettled(
      [a, b, c, d].map(({ digest }) => it.store.ingest(digest, 100 * kib)),
    );

    assert.ok(it.store.usedBytes <= 300 * kib, `${it.store.usedBytes / kib} KiB are reserved`);
    for (const one of begun) {
      if (one.status === 'fulfilled') await one.value.fail(new MirrorError('CANCELLED', 'done'));
    }
  });

  test('leaves the low watermark when it is reached, so that not every blob costs an eviction', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 300 * kib, lowWatermark: 0.5 } });
    for (const blob of [a, b, c]) await put(it.store, blob);

    await put(it.store, d);
    await until('the background is done', () => it.observedOf('evicted').length >= 3);

    assert.deepEqual(
      it.observedOf('evicted').map(({ digest }) => digest),
      [a.digest, b.digest, c.digest],
    );
  });

  test('makes room for a large one by as many small ones as it takes', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 1_000 * kib } });
    const small = Array.from({ length: 200 }, (_, at) => makeBlob(`small ${at}`, 4 * kib));
    for (const blob of small) await put(it.store, blob);
    const large = makeBlob('large', 600 * kib);

    await put(it.store, large);

    const evicted = it.observedOf('evicted').map(({ digest }) => digest);
    assert.deepEqual(
      evicted,
      small.slice(0, 100).map(({ digest }) => digest),
    );
    assert.equal((await it.files()).length, 101);
    assert.equal(it.store.usedBytes, 1_000 * kib);
  });

  test('passes over what came into use, or was pinned, while others went before it', async () => {
    const held = holdUnlinking();
    await using it = await openTestStore({ disk: held.disk, budget: { maxBytes: 1_000 * kib } });
    const small = Array.from({ length: 200 }, (_, at) => makeBlob(`small ${at}`, 4 * kib));
    for (const blob of small) await put(it.store, blob);
    const [used, pinned] = [small[80]!, small[90]!];

    const putting = put(it.store, makeBlob('large', 600 * kib));
    await held.begun;
    const stored = await it.store.find(used.digest);
    it.store.keepPinned((digest) => digest === pinned.digest);
    held.release();
    await putting;
    stored?.close();

    for (const { digest } of [used, pinned]) assert.ok(await it.store.has(digest));
    assert.equal(it.observedOf('evicted').length, 100);
    assert.equal(it.store.usedBytes, 1_000 * kib);
  });

  test('counts what is stored anew while its old file goes', async () => {
    const held = holdUnlinking();
    await using it = await openTestStore({ disk: held.disk });
    await put(it.store, a);

    const removing = it.store.remove(a.digest);
    await held.begun;
    const putting = put(it.store, a);
    await Promise.race([putting, sleep(100)]);
    held.release();
    await Promise.all([removing, putting]);

    assert.equal(it.store.usedBytes, 100 * kib);
    assertSame(await take(it.store, a.digest), a.bytes);
  });

  test('does not wait at its end for the low watermark', async () => {
    await using it = await openTestStore({ budget: { maxBytes: 8_000 * kib, lowWatermark: 0.1 } });
    for (let at = 0; at < 2_000; at += 1) await put(it.store, makeBlob(`small ${at}`, 4 * kib));
    await put(it.store, makeBlob('one more', 4 * kib));

    await it.restart();

    const left = (await it.files()).length;
    assert.ok(left > 1_000 && left <= 2_000, `${left} files are left`);
    assert.equal(it.store.usedBytes, left * 4 * kib);
  });

  test('keeps free what must stay free on the file system', async () => {
    let freeBytes = 150 * kib;
    const disk: Disk = {
      ...systemDisk,
      space: () => Promise.resolve({ freeBytes, totalBytes: 1_000 * kib }),
    };
    const minFreeBytes = (totalBytes: number): number => totalBytes / 10;
    await using it = await openTestStore({ disk, budget: { minFreeBytes } });

    await assert.rejects(it.store.ingest(a.digest, 100 * kib), { code: 'DISK_FAILED' });
    freeBytes = 200 * kib;

    await put(it.store, a);
  });
});

describe('a file that somebody removes while it arrives', () => {
  test('takes no place of the budget when it is given up', async () => {
    await using it = await openTestStore();
    const blob = makeBlob('removed', 300 * kib);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    ingest.committed.catch(() => {});
    await write(ingest, 0, blob.bytes.subarray(0, 200 * kib));

    await rm(join(it.folder, 'tmp'), { recursive: true });
    await ingest.fail(new MirrorError('CANCELLED', 'given up'));

    assert.equal(it.store.usedBytes, 0);
  });
});

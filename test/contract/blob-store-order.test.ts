import assert from 'node:assert/strict';
import { mkdir, readdir, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { MirrorError } from '../../src/oci/errors.ts';
import { systemDisk, type Disk, type DiskFile } from '../../src/store/disk.ts';
import { makeBlob } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';
import { ManualClock } from '../unit/manual-clock.ts';
import {
  assertSame,
  drain,
  openTestStore,
  put,
  take,
  write,
  type TestStore,
} from './test-store.ts';

const kib = 1024;
const mib = 1024 * kib;

/** Of 100 KiB each: three of them fill the budget. */
const [a, b, c, d, e, f] = ['a', 'b', 'c', 'd', 'e', 'f'].map((seed) => makeBlob(seed, 100 * kib));
assert.ok(a && b && c && d && e && f);
const budget = { maxBytes: 300 * kib };

function evictedFrom(it: TestStore): string[] {
  return it.observedOf('evicted').map(({ digest }) => digest);
}

describe('the order of use', () => {
  test('is that of before when the store was closed and is opened again', async () => {
    const clock = new ManualClock();
    await using it = await openTestStore({ budget, clock });
    for (const blob of [a, b, c]) {
      await put(it.store, blob);
      clock.advance(1_000);
    }
    await take(it.store, a.digest);

    await it.restart();
    for (const blob of [d, e, f]) await put(it.store, blob);

    assert.deepEqual(evictedFrom(it), [b.digest, c.digest, a.digest]);
  });

  test('is lost with its database, and nothing else is', async () => {
    await using it = await openTestStore({ budget });
    for (const blob of [a, b, c]) await put(it.store, blob);

    await rm(join(it.folder, 'recency.db'));
    await it.reopen();

    for (const blob of [a, b, c]) assertSame(await take(it.store, blob.digest), blob.bytes);
    await put(it.store, d);
    assert.equal(evictedFrom(it).length, 1);
  });

  test('counts a use that needed no read here', async () => {
    await using it = await openTestStore({ budget });
    for (const blob of [a, b, c]) await put(it.store, blob);

    it.store.touch(a.digest);
    await put(it.store, d);

    assert.deepEqual(evictedFrom(it), [b.digest]);
  });

  test('is told of every blob: size, and when it was used', async () => {
    const clock = new ManualClock();
    await using it = await openTestStore({ clock });
    await put(it.store, a);
    clock.advance(5_000);
    await put(it.store, b);

    const walked = new Map<string, { size: number; usedMs: number }>();
    for await (const { digest, ...rest } of it.store.walk()) walked.set(digest, rest);

    assert.deepEqual(
      [a, b, c].map(({ digest }) => it.store.usedMs(digest)),
      [clock.wallMs() - 5_000, clock.wallMs(), undefined],
    );
    assert.deepEqual(walked.get(a.digest), { size: 100 * kib, usedMs: clock.wallMs() - 5_000 });
  });
});

describe('reserved space', () => {
  test('that is not written yet is not free for others', async () => {
    const disk: Disk = {
      ...systemDisk,
      space: async () => ({ freeBytes: 250 * kib, totalBytes: 1_000 * kib }),
    };
    await using it = await openTestStore({ disk });
    const first = await it.store.ingest(a.digest, 100 * kib);
    const second = await it.store.ingest(b.digest, 100 * kib);

    await assert.rejects(it.store.ingest(c.digest, 100 * kib), { code: 'DISK_FAILED' });

    await first.fail(new MirrorError('CANCELLED', 'nobody waits'));
    const third = await it.store.ingest(c.digest, 100 * kib);
    for (const ingest of [second, third]) await ingest.fail(new MirrorError('CANCELLED', 'done'));
    assert.equal(it.store.usedBytes, 0);
  });

  test('goes to the first of those who begin together, not to nobody', async () => {
    await using it = await openTestStore({ budget });

    const begun = await Promise.allSettled(
      [a, b, c, d].map(({ digest }) => it.store.ingest(digest, 100 * kib)),
    );

    assert.deepEqual(
      begun.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'fulfilled', 'rejected'],
    );
    for (const one of begun) {
      if (one.status === 'fulfilled') await one.value.fail(new MirrorError('CANCELLED', 'done'));
    }
  });

  test('grows in steps while nobody knows how much comes, and ends at the budget', async () => {
    const large = makeBlob('of unknown size', 70 * mib);
    await using roomy = await openTestStore({ budget: { maxBytes: 160 * mib } });
    const fits = await roomy.store.ingest(large.digest, undefined);
    assert.equal(roomy.store.usedBytes, 64 * mib);
    await write(fits, 0, large.bytes);
    assert.equal(roomy.store.usedBytes, 128 * mib);
    fits.setSize(large.bytes.length);
    await fits.complete();
    await fits.committed;
    assert.equal(roomy.store.usedBytes, 70 * mib);

    await using tight = await openTestStore({ budget: { maxBytes: 100 * mib } });
    const bursts = await tight.store.ingest(large.digest, undefined);
    await assert.rejects(write(bursts, 0, large.bytes), { code: 'DISK_FAILED' });
    await bursts.fail(new MirrorError('DISK_FAILED', 'no space'));
    assert.equal(tight.store.usedBytes, 0);
  });

  test('counts whole blocks', async () => {
    await using it = await openTestStore();

    await put(it.store, makeBlob('tiny', 10));

    assert.equal(it.store.usedBytes, 4 * kib);
  });
});

describe('a large blob that a crash interrupts', () => {
  const blob = makeBlob('interrupted', 24 * mib);
  const half = 12 * mib;

  /** Half of it is written; then a second passes and the next piece is. */
  async function interrupted(it: TestStore, clock: ManualClock): Promise<void> {
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    await write(ingest, 0, blob.bytes.subarray(0, half));
    clock.advance(2_000);
    await write(ingest, half, blob.bytes.subarray(half, half + mib));
    await until('the record is written', async () =>
      (await it.files()).some((name) => /^tmp\/\d+\.json$/.test(name)),
    );
    const failed = ingest.committed.catch((error: unknown) => error);
    await it.reopen();
    await ingest.fail(new MirrorError('CANCELLED', 'the process is gone'));
    await failed;
  }

  test('goes on from what was recorded, and is hashed as a whole', async () => {
    const clock = new ManualClock();
    await using it = await openTestStore({ clock });

    await interrupted(it, clock);

    assert.equal(it.observedOf('store-ready').at(-1)?.resumablePartials, 1);
    assert.equal(it.store.usedBytes, 24 * mib);
    const rest = it.store.resumable(blob.digest);
    assert.ok(rest !== undefined && rest.start >= half && rest.end === blob.bytes.length);
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    assertSame(
      await drain(ingest.read({ start: 1, end: rest.start })),
      blob.bytes.subarray(1, rest.start),
    );
    await write(ingest, rest.start, blob.bytes.subarray(rest.start));
    await ingest.complete();
    await ingest.committed;
    assertSame(await take(it.store, blob.digest), blob.bytes);
    assert.equal(it.store.usedBytes, 24 * mib);
    assert.equal((await it.files()).length, 1);
  });

  test('is thrown away when its space is needed', async () => {
    const clock = new ManualClock();
    await using it = await openTestStore({ clock, budget: { maxBytes: 30 * mib } });
    await interrupted(it, clock);
    const tooLarge = it.store.ingest(makeBlob('never fits', 1).digest, 31 * mib);
    await assert.rejects(tooLarge, { code: 'DISK_FAILED' });
    assert.notEqual(it.store.resumable(blob.digest), undefined, 'not in vain');

    await put(it.store, makeBlob('needs the space', 20 * mib));

    assert.equal(it.store.resumable(blob.digest), undefined);
    assert.equal((await it.files()).length, 1);
  });

  test('is not published when what was recorded turns out wrong, and comes anew', async () => {
    const clock = new ManualClock();
    await using it = await openTestStore({ clock });
    await interrupted(it, clock);
    const rest = it.store.resumable(blob.digest);
    assert.ok(rest !== undefined);

    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    await write(ingest, rest.start, makeBlob('other', 24 * mib).bytes.subarray(rest.start));

    await assert.rejects(ingest.complete(), { code: 'CONTENT_CORRUPT' });
    assert.deepEqual(await it.files(), []);
    await put(it.store, blob);
    assertSame(await take(it.store, blob.digest), blob.bytes);
  });

  test('has a record again when the disk was full for one of them', async () => {
    const clock = new ManualClock();
    let failures = 1;
    const disk: Disk = {
      ...systemDisk,
      open: async (path, flags) => {
        const file: DiskFile = await systemDisk.open(path, flags);
        if (!path.endsWith('.json.new') || failures === 0) return file;
        failures -= 1;
        return Object.assign(file, { write: () => Promise.reject(new Error('ENOSPC')) });
      },
    };
    await using it = await openTestStore({ clock, disk });
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);

    clock.advance(2_000);
    await write(ingest, 0, blob.bytes.subarray(0, 8 * mib));
    await until('the first one has failed', async () => {
      const files = await it.files();
      return failures === 0 && files.every((name) => !name.endsWith('.new'));
    });
    clock.advance(2_000);
    await write(ingest, 8 * mib, blob.bytes.subarray(8 * mib, 16 * mib));
    await until('a record is written', async () =>
      (await it.files()).some((name) => name.endsWith('.json')),
    );

    await ingest.fail(new MirrorError('CANCELLED', 'done'));
    assert.equal(failures, 0);
    assert.deepEqual(await it.files(), []);
  });

  test('fails when the disk cannot sync what a record would promise', async () => {
    const clock = new ManualClock();
    const disk: Disk = {
      ...systemDisk,
      open: async (path, flags) => {
        const file: DiskFile = await systemDisk.open(path, flags);
        return Object.assign(file, { datasync: () => Promise.reject(new Error('EIO')) });
      },
    };
    await using it = await openTestStore({ clock, disk });
    const ingest = await it.store.ingest(blob.digest, blob.bytes.length);
    await write(ingest, 0, blob.bytes.subarray(0, half));
    clock.advance(2_000);

    await assert.rejects(async () => {
      await write(ingest, half, blob.bytes.subarray(half, half + mib));
      await ingest.committed;
    });

    assert.deepEqual(await it.files(), []);
    assert.equal(it.store.usedBytes, 0);
  });
});

for (const name of ['tmp', 'tmp-old', 'partials', 'quarantine']) {
  test(`a link in the place of ${name} is refused, and nothing behind it is touched`, async () => {
    await using elsewhere = await temporaryFolder();
    await mkdir(join(elsewhere.path, 'precious'));
    await using it = await openTestStore();
    const storagePath = dirname(it.folder);
    await rm(join(it.folder, name), { recursive: true, force: true });
    await symlink(elsewhere.path, join(it.folder, name));

    await assert.rejects(openTestStore({ storagePath }), {
      code: 'DISK_FAILED',
      message: new RegExp(`${name} is a symbolic link`),
    });
    assert.deepEqual(await readdir(elsewhere.path), ['precious']);
  });
}

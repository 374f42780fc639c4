import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemDisk, type Disk } from '../../src/store/disk.ts';
import { shareDescriptors } from '../../src/wiring/descriptors.ts';
import { makeBlob } from '../kit/images.ts';
import { assertSame, openTestStore, put, take, tellingClose } from './test-store.ts';

/** As of a process that may have only so many files open. */
function narrowDisk(openMax: number): Disk {
  let open = 0;
  return {
    ...systemDisk,
    open: async (path, flags) => {
      if (open >= openMax) throw Object.assign(new Error('EMFILE: open'), { code: 'EMFILE' });
      open += 1;
      const file = await systemDisk.open(path, flags);
      return tellingClose(file, () => {
        open -= 1;
      });
    },
  };
}

test('where no more files may be open, those that nobody reads are closed, for many who ask at once', async () => {
  await using it = await openTestStore({ disk: narrowDisk(4), cacheBytes: 0 });
  const blobs = [1, 2, 3, 4, 5, 6].map((seed) => makeBlob(seed, 50_000));

  for (const blob of blobs) await put(it.store, blob);
  const both = blobs.slice(0, 2);
  const taken = await Promise.all(both.map(({ digest }) => take(it.store, digest)));

  for (const [at, bytes] of taken.entries()) assertSame(bytes, both[at]!.bytes);
  for (const { digest, bytes } of blobs) assertSame(await take(it.store, digest), bytes);
  assert.deepEqual(it.observedOf('store-failed'), []);
});

test('two open a blob at once, and a close fails: nobody has it afterwards', async () => {
  const both = Promise.withResolvers<void>();
  let opening = 0;
  let closed = 0;
  const disk: Disk = {
    ...systemDisk,
    open: async (path, flags) => {
      const file = await systemDisk.open(path, flags);
      if (flags !== 'r') return file;
      opening += 1;
      if (opening === 2) both.resolve();
      await both.promise;
      return tellingClose(file, () => {
        closed += 1;
        throw Object.assign(new Error('EIO: close'), { code: 'EIO' });
      });
    },
  };
  await using it = await openTestStore({ disk });
  const blob = makeBlob(7, 50_000);
  await put(it.store, blob);
  await it.restart();

  const [one, other] = await Promise.all([
    take(it.store, blob.digest),
    take(it.store, blob.digest),
  ]);

  assertSame(one, blob.bytes);
  assertSame(other, blob.bytes);
  await it.restart();
  assert.equal(closed, opening, 'descriptors that were opened are closed');
  assert.deepEqual(it.observedOf('store-failed'), []);
});

const shares: [limit: number | undefined, keptFiles: number, clients: number][] = [
  [64, 4, 8],
  [256, 48, 96],
  [1_024, 224, 448],
  [1_048_576, 256, 458_752],
  [undefined, 256, Infinity],
];

for (const [limit, keptFiles, clients] of shares) {
  test(`of ${limit ?? 'an unknown number of'} descriptors, ${keptFiles} are for kept files and ${clients} for clients`, () => {
    assert.deepEqual(shareDescriptors(limit), { keptFiles, clients });
  });
}

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { systemDisk } from '../../src/store/disk.ts';
import { evictionBy } from '../../src/store/eviction/tiered.ts';
import { PartialFile } from '../../src/store/partial-file.ts';
import { Partials, recordPathOf, type Partial } from '../../src/store/partials.ts';
import { Space } from '../../src/store/space.ts';
import { makeBlob } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { ManualClock } from '../unit/manual-clock.ts';
import { assertSame } from './test-store.ts';

const mib = 1024 * 1024;
const blob = makeBlob('partial', 12 * mib);
const { digest, bytes } = blob;
const sizeBytes = bytes.length;
const nobody = (): Promise<boolean> => Promise.resolve(false);

interface PartialsBench extends AsyncDisposable {
  readonly partials: Partials;
  readonly space: Space;
  /** A folder of an earlier process, in which the first bytes of the blob arrived. */
  leftover(name: string, filledBytes: number): Promise<string>;
  /** Upstream has sent so much in this process, and no more. */
  setAside(filledBytes: number): Promise<boolean>;
}

async function openPartials(): Promise<PartialsBench> {
  const folder = await temporaryFolder();
  const clock = new ManualClock();
  const space = new Space({
    folder: folder.path,
    disk: systemDisk,
    budget: { maxBytes: 0, minFreeBytes: () => 0, lowWatermark: 1 },
    eviction: evictionBy('lru', () => 0),
    mustStay: () => false,
    remove: () => Promise.resolve(),
    heldBytes: () => 0,
    counted: Promise.resolve(),
    assumedBytes: 0,
  });
  const partials = new Partials({ folder: folder.path, disk: systemDisk, space });
  return {
    partials,
    space,
    leftover: async (name, filledBytes) => {
      const left = join(folder.path, name);
      await mkdir(left);
      const file = join(left, '1');
      await writeFile(file, bytes.subarray(0, filledBytes));
      const filled = [{ start: 0, end: filledBytes }];
      await writeFile(recordPathOf(file), JSON.stringify({ digest, sizeBytes, filled }));
      return left;
    },
    setAside: async (filledBytes) => {
      const path = join(folder.path, 'arriving');
      const file = await systemDisk.open(path, 'wx+');
      await file.write(bytes.subarray(0, filledBytes), 0);
      const reservation = await space.reserve(sizeBytes, filledBytes);
      const hasRecord = false;
      const parts = { path, file, reservation, disk: systemDisk, clock, digest, hasRecord };
      const filled = [{ start: 0, end: filledBytes }];
      const record = { digest, sizeBytes, filled };
      const isKept = await partials.setAside(new PartialFile(parts), record, clock.monotonicMs());
      await file.close();
      return isKept;
    },
    [Symbol.asyncDispose]: async () => {
      await partials.discardAll();
      assert.equal(space.reservedBytes, 0);
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe('while the partials of earlier processes are sorted out', () => {
  test('one that was set aside by now stays, and theirs goes', async () => {
    await using it = await openPartials();
    const left = await it.leftover('left', 9 * mib);
    assert.equal(await it.setAside(10 * mib), true);

    const sorted = await it.partials.recover([left], Date.now(), nobody);

    assert.deepEqual(sorted, { resumable: 0, removed: 1 });
    const taken = await it.partials.take(digest, sizeBytes);
    assert.ok(taken !== undefined);
    assertSame(await readFile(taken.path), bytes.subarray(0, 10 * mib));
    await it.partials.discard(taken);
  });

  test('one that is gone on with by now is not replaced by an older one', async () => {
    await using it = await openPartials();
    const newer = await it.leftover('newer', 10 * mib);
    const older = await it.leftover('older', 9 * mib);

    const sorting = it.partials.recover([newer, older], Date.now(), nobody);
    let taken: Partial | undefined;
    while (taken === undefined) {
      await turn();
      taken = await it.partials.take(digest, sizeBytes);
    }
    await sorting;

    assertSame(await readFile(taken.path), bytes.subarray(0, 10 * mib));
    await it.partials.discard(taken);
  });

  test('one that is set aside at the same time is the one that stays', async () => {
    await using it = await openPartials();
    const left = await it.leftover('left', 9 * mib);

    await it.partials.recover([left], Date.now(), async () => {
      await it.setAside(10 * mib);
      return false;
    });

    const taken = await it.partials.take(digest, sizeBytes);
    assert.ok(taken !== undefined);
    assertSame(await readFile(taken.path), bytes.subarray(0, 10 * mib));
    await it.partials.discard(taken);
    assert.equal(it.space.reservedBytes, 0);
  });
});

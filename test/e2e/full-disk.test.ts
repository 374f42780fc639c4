import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob } from '../kit/images.ts';
import { skipUnlessRequired, tryRun } from '../kit/program.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { assertFilesAreTheirNames } from '../kit/store-folder.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

interface SmallDisk extends AsyncDisposable {
  readonly path: string;
}

/** An ext4 of its own in a file, mounted by loop; undefined, with the test skipped, where that cannot be. */
async function mountSmallDisk(t: TestContext, sizeBytes: number): Promise<SmallDisk | undefined> {
  const skip = (reason: string): undefined => {
    skipUnlessRequired(t, reason);
    return undefined;
  };
  if (process.getuid?.() !== 0) return skip('mounting needs root');
  const folder = await temporaryFolder();
  const image = join(folder.path, 'disk.img');
  const path = join(folder.path, 'mnt');
  await writeFile(image, '');
  await truncate(image, sizeBytes);
  const steps = [
    ['mkfs.ext4', '-q', '-F', '-m', '0', image],
    ['mkdir', path],
    ['mount', '-o', 'loop', image, path],
  ] as const;
  for (const [command, ...args] of steps) {
    const { code, stderr } = await tryRun(command, args);
    if (code === 0) continue;
    await folder[Symbol.asyncDispose]();
    return skip(`${command} does not work here: ${stderr.trim()}`);
  }
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await tryRun('umount', ['--lazy', path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}

test(
  'on a disk that others have filled to the brim, clients still get their bytes, and it recovers',
  { timeout: 60_000 },
  async (t) => {
    await using disk = await mountSmallDisk(t, 48 * mib);
    if (disk === undefined) return;
    await using upstream = await startScriptedRegistry();
    const blobs = [1, 2, 3, 4, 5, 6].map((seed) => makeBlob(`brim ${seed}`, 9 * mib));
    for (const blob of blobs) upstream.addBlob('library/app', blob);
    await using mirror = await startEntrepotProcess({
      config: {
        storage: { path: join(disk.path, 'storage'), maxSize: '0', minFree: '0' },
        upstreams: { 'docker.io': { urls: [upstream.url] } },
      },
    });
    const pull = async (blob: { readonly digest: string }): Promise<string> => {
      const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
      assert.equal(answer.digest, blob.digest);
      assert.ok(answer.complete);
      return String(answer.headers['x-cache']);
    };

    // More than the disk holds: eviction makes room.
    for (const blob of blobs) await pull(blob);
    // Now somebody else takes what is left, and all that eviction would give back.
    const filler = join(disk.path, 'filler');
    const { bavail, bsize } = statfsSync(disk.path);
    await writeFile(filler, Buffer.alloc(bavail * bsize)).catch(() => {});
    assert.ok(statfsSync(disk.path).bavail * bsize < 64 * 1024);
    for (const blob of blobs) await pull(blob);
    await Promise.all([pull(blobs[0]!), pull(blobs[0]!), pull(blobs[1]!), pull(blobs[2]!)]);

    await truncate(filler, 0);
    await pull(blobs[5]!);
    // A client has the last bytes before the disk has them for good.
    await until('it to be stored', async () => (await pull(blobs[5]!)) === 'HIT');

    assert.equal(mirror.exited(), undefined);
    await assertFilesAreTheirNames(mirror.storagePath);
  },
);

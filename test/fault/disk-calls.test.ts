import assert from 'node:assert/strict';
import { readdir, readlink } from 'node:fs/promises';
import { test } from 'node:test';
import { systemDisk, type Disk, type DiskFile } from '../../src/store/disk.ts';
import type { UnlinkResult } from '../../src/store/unlinking.ts';
import { get } from '../kit/clients.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { arrivingFiles, assertFilesAreTheirNames, occupiedBytes } from '../kit/store-folder.ts';

const mib = 1024 * 1024;
const budgetBytes = 4 * mib;

const codes = ['ENOSPC', 'EIO', 'EMFILE'] as const;

/** Every call of the store counts; `codeOf` says how the n-th one fails, or that it does not. */
class FailingDisk implements Disk {
  calls = 0;
  codeOf: ((call: number) => string | undefined) | undefined;

  async open(path: string, flags: 'r' | 'r+' | 'wx+'): Promise<DiskFile> {
    this.#failIfTold('open');
    const file = await systemDisk.open(path, flags);
    return {
      fd: file.fd,
      read: (buffer, position) => this.#guard('read', () => file.read(buffer, position)),
      write: (bytes, position) => this.#guard('write', () => file.write(bytes, position)),
      datasync: () => this.#guard('fdatasync', () => file.datasync()),
      stat: () => this.#guard('fstat', () => file.stat()),
      close: async () => {
        // As the kernel does it: the descriptor is gone whatever close says.
        await file.close();
        this.#failIfTold('close');
      },
    };
  }

  syncFolder(path: string): Promise<void> {
    return this.#guard('fsync', () => systemDisk.syncFolder(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#guard('rename', () => systemDisk.rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.#guard('unlink', () => systemDisk.unlink(path));
  }

  unlinkAll(paths: readonly string[]): Promise<UnlinkResult[]> {
    const unlink = (path: string): Promise<UnlinkResult> =>
      this.unlink(path).then(
        () => undefined,
        (error: NodeJS.ErrnoException) => error,
      );
    return Promise.all(paths.map(unlink));
  }

  makeFolder(path: string): Promise<void> {
    return this.#guard('mkdir', () => systemDisk.makeFolder(path));
  }

  space(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#guard('statfs', () => systemDisk.space(path));
  }

  async #guard<T>(call: string, work: () => Promise<T>): Promise<T> {
    this.#failIfTold(call);
    return work();
  }

  #failIfTold(call: string): void {
    if (this.codeOf === undefined) return;
    this.calls += 1;
    const code = this.codeOf(this.calls);
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${call}`), { code });
  }
}

/** The first evicts nothing, the second most of the first, the third comes back. */
const first = makeImage({ seed: 'k-th first', layers: [1_500_000, 700_000] });
const second = makeImage({ seed: 'k-th second', layers: [2_200_000] });

/** Pulls that fill, hit, evict and refill, on a disk that fails as told; answers how many calls it made. */
async function pullAll(
  codeOf: (call: number) => string | undefined,
  hint: string,
): Promise<number> {
  const disk = new FailingDisk();
  await using upstream = await startScriptedRegistry();
  upstream.add('library/first', first, '1');
  upstream.add('library/second', second, '1');
  await using mirror = await startMirror({
    upstream,
    disk,
    config: { storage: { maxSize: String(budgetBytes) } },
  });
  const { storagePath } = mirror;
  const pull = async (name: string, image: Image): Promise<void> => {
    const asked = [image.manifest, image.config, ...image.layers];
    const answers = await Promise.all(
      asked.map(({ digest }, at) =>
        get(`${mirror.url}/v2/${name}/${at === 0 ? 'manifests/1' : `blobs/${digest}`}`),
      ),
    );
    assert.deepEqual(
      answers.map(({ digest, complete }) => [digest, complete]),
      asked.map(({ digest }) => [digest, true]),
      hint,
    );
    const occupied = await occupiedBytes(storagePath);
    assert.ok(occupied <= budgetBytes, `${hint}: ${occupied} bytes are occupied`);
  };
  await mirror.app.counted;

  disk.codeOf = codeOf;
  for (const [name, image] of [
    ['first', first],
    ['first', first],
    ['second', second],
    ['first', first],
  ] as const) {
    await pull(name, image);
  }
  disk.codeOf = undefined;
  await pull('second', second);
  await mirror.restart();
  await mirror.app.counted;
  await assertFilesAreTheirNames(storagePath, hint);
  assert.deepEqual(await arrivingFiles(storagePath), [], hint);
  assert.deepEqual(await openFilesBelow(storagePath), [], hint);
  return disk.calls;
}

test('whichever file call fails while images come and go, clients get the right bytes and nothing is left', async () => {
  const golden = await pullAll(() => undefined, 'none');
  assert.ok(golden > 80, `${golden} file calls`);

  for (let failAt = 1; failAt <= golden; failAt += 1) {
    const code = codes[failAt % codes.length];
    await pullAll((call) => (call === failAt ? code : undefined), `call ${failAt}: ${code}`);
  }
});

test('from whichever file call on the disk fails for good, clients get the right bytes, and it recovers', async () => {
  const golden = await pullAll(() => undefined, 'none');

  for (let failFrom = 1; failFrom <= golden; failFrom += 4) {
    const code = codes[failFrom % codes.length];
    await pullAll((call) => (call >= failFrom ? code : undefined), `from ${failFrom}: ${code}`);
  }
});

/** What is open of the content; the databases stay open. */
async function openFilesBelow(folder: string): Promise<string[]> {
  const fds = await readdir('/proc/self/fd').catch(() => []);
  const targets = await Promise.all(
    fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return targets.filter((target) =>
    /^\/v1\/(?:blobs|tmp|partials)\//.test(target.slice(folder.length)),
  );
}

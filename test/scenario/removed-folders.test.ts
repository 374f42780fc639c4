import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { get, type Answer } from '../kit/clients.ts';
import { makeBlob } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { skipUnlessRequired } from '../kit/program.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { storedFiles } from '../kit/store-folder.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const first = makeBlob('removed', 100_000);
/** It lies in the same folder as the first. */
const second = makeBlob(seedBeside(first.digest), 100_000);
const third = makeBlob('removed, too', 100_000);
const blobs = [first, second, third];

function seedBeside(digest: string): number {
  const [, shard] = /^sha256:(..)/.exec(digest) ?? [];
  for (let seed = 0; ; seed += 1) {
    if (makeBlob(seed, 100_000).digest.startsWith(`sha256:${shard}`)) return seed;
  }
}

const removals: Readonly<Record<string, (storagePath: string) => Promise<string>>> = {
  'the folder of what arrives': (storagePath) => Promise.resolve(join(storagePath, 'v1', 'tmp')),
  'a folder of blobs': async (storagePath) => dirname((await storedFiles(storagePath))[0] ?? ''),
  'the folder of all blobs': (storagePath) => Promise.resolve(join(storagePath, 'v1', 'blobs')),
  'the storage folder': (storagePath) => Promise.resolve(storagePath),
};

for (const [what, folderOf] of Object.entries(removals)) {
  test(`${what} may be removed while the mirror runs: it comes back, and what is pulled is cached`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });
    for (const blob of blobs) upstream.addBlob('library/app', blob);
    const pull = async ({ digest }: typeof first): Promise<unknown[]> => {
      const answer = await get(`${mirror.url}/v2/app/blobs/${digest}`);
      return [answer.digest, answer.headers['x-cache']];
    };
    await pull(first);
    await mirror.observed('fill-committed');

    await rm(await folderOf(mirror.storagePath), { recursive: true });
    // More than one at once, of which each finds it missing.
    await Promise.all([pull(second), pull(third)]);
    await pull(first);
    await mirror.observed('fill-committed', ({ digest }) => digest === third.digest);
    await mirror.observed('fill-committed', ({ digest }) => digest === second.digest);

    assert.deepEqual(await Promise.all(blobs.map(pull)), [
      [first.digest, 'HIT'],
      [second.digest, 'HIT'],
      [third.digest, 'HIT'],
    ]);
    assert.deepEqual(mirror.observedOf('fill-uncached'), []);
    assert.equal((await get(`${mirror.adminUrl}/readyz`)).status, 200);
  });
}

test('a storage folder that came back is taken again: another mirror is refused', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.addBlob('library/app', first);

  await rm(mirror.storagePath, { recursive: true });
  await get(`${mirror.url}/v2/app/blobs/${first.digest}`);

  const other = startMirror({ upstream, config: { storage: { path: mirror.storagePath } } });
  await assert.rejects(other, /another process uses the storage folder/);
});

test('a storage folder that another mirror has made meanwhile is left alone', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.addBlob('library/app', first);
  await rm(mirror.storagePath, { recursive: true });
  await using other = await startMirror({
    upstream,
    config: { storage: { path: mirror.storagePath } },
  });
  await other.app.counted;
  await rm(join(mirror.storagePath, 'v1', 'tmp'), { recursive: true });

  const answer = await get(`${mirror.url}/v2/app/blobs/${first.digest}`);

  assert.equal(answer.digest, first.digest);
  assert.equal(mirror.observedOf('fill-uncached').length, 1);
  assert.deepEqual(await storedFiles(mirror.storagePath), []);
});

test('nothing is written where the file system of the storage folder is not mounted any more', async (t) => {
  await using here = await temporaryFolder();
  const shared = '/dev/shm';
  const device = (await stat(shared).catch(() => undefined))?.dev;
  if (device === undefined || device === (await stat(here.path)).dev) {
    return skipUnlessRequired(t, 'there is no second file system');
  }
  await using upstream = await startScriptedRegistry();
  upstream.addBlob('library/app', first);
  const mounted = await mkdtemp(join(shared, 'entrepot-'));
  t.after(() => rm(mounted, { recursive: true, force: true }));
  const below = join(here.path, 'below');
  await mkdir(below);
  const storagePath = join(here.path, 'storage');
  await symlink(mounted, storagePath);
  await using mirror = await startMirror({ upstream, config: { storage: { path: storagePath } } });

  await rm(storagePath);
  await symlink(below, storagePath);
  const answer = await get(`${mirror.url}/v2/app/blobs/${first.digest}`);

  assert.equal(answer.digest, first.digest);
  assert.deepEqual(await readdir(below), []);
});

test('a pipe in the place of a blob is not waited for: the content comes from upstream, and replaces it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  for (const blob of blobs) upstream.addBlob('library/app', blob);
  const pull = (): Promise<Answer> => get(`${mirror.url}/v2/app/blobs/${first.digest}`);
  await pull();
  await mirror.observed('fill-committed');
  const [file = ''] = await storedFiles(mirror.storagePath);
  await mirror.restart();
  await rm(file);
  execFileSync('mkfifo', [file]);

  const answer = await pull();
  await until('it is replaced', async () => (await stat(file)).isFile());

  assert.equal(answer.digest, first.digest);
  assert.equal((await pull()).headers['x-cache'], 'HIT');
});

import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'private', layers: [50_000] });

/** What is below a folder and open to others than its owner. */
async function openToOthers(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(folder, { recursive: true })) {
    // What is moved meanwhile is seen where it goes to.
    const { mode = 0 } = (await stat(join(folder, name)).catch(() => undefined)) ?? {};
    if (mode & 0o077) found.push(`${name} ${mode.toString(8)}`);
  }
  return found;
}

test('whatever the mirror stores is for its owner alone, also what an earlier version left open', async () => {
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startEntrepotProcess({
    config: { upstreams: { 'docker.io': { urls: [upstream.url] } } },
    shell: 'umask 022',
  });
  const folder = join(mirror.storagePath, 'v1');
  const pull = async (): Promise<void> => {
    await get(`${mirror.url}/v2/app/manifests/1`);
    for (const { digest } of image.layers) await get(`${mirror.url}/v2/app/blobs/${digest}`);
  };

  await pull();
  const fresh = await openToOthers(folder);
  await mirror.stop();
  for (const name of ['names.db', 'changes.db', 'recency.db', 'lock']) {
    await chmod(join(folder, name), 0o644);
  }
  await mirror.restart();
  await pull();

  assert.deepEqual(fresh, []);
  assert.deepEqual(await openToOthers(folder), []);
});

function startOn(upstream: ScriptedRegistry, storagePath: string): Promise<TestMirror> {
  return startMirror({ upstream, config: { storage: { path: storagePath } } });
}

for (const below of ['v1', 'v1/blobs/sha256']) {
  test(`a folder ${below} into which every user may write is refused, with what to do`, async () => {
    await using folder = await temporaryFolder();
    await using upstream = await startScriptedRegistry();
    await mkdir(join(folder.path, below), { recursive: true });
    await chmod(join(folder.path, below), 0o777);

    const refused = startOn(upstream, folder.path);

    await assert.rejects(refused, {
      code: 'DISK_FAILED',
      message: /every user of this machine may write into .*\(mode 0777\).*chmod -R o-w/,
    });
    await chmod(join(folder.path, below), 0o755);
    await using mirror = await startOn(upstream, folder.path);
    assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
  });
}

test('a volume that everybody may write, and folders that a group may write, are taken as they are', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  await mkdir(join(folder.path, 'v1'));
  await chmod(folder.path, 0o777);
  await chmod(join(folder.path, 'v1'), 0o2775);

  await using mirror = await startOn(upstream, folder.path);

  assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
});

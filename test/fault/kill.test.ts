import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob, sha256 } from '../kit/images.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

test('killed in the middle of three fills, ten times over: no partial, nothing wrong, ready at once', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 8 * mib });
  const blobs = [1, 2, 3].map((seed) => makeBlob(`kill ${seed}`, 12 * mib));
  for (const blob of blobs) upstream.addBlob('library/app', blob);
  const small = makeBlob('kept', 300_000);
  upstream.addBlob('library/app', small);
  await using mirror = await startEntrepotProcess({
    config: {
      log: { level: 'warn' },
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url], connectionsPerBlob: 2 } },
    },
  });
  const urlOf = (digest: string): string => `${mirror.url}/v2/library/app/blobs/${digest}`;
  await get(urlOf(small.digest));
  await until(
    'the small blob is stored',
    async () => (await storedFiles(mirror.storagePath)).length === 1,
  );

  for (let round = 0; round < 10; round += 1) {
    const asking = blobs.map(({ digest }) => get(urlOf(digest)));
    const before = upstream.bytesSent();
    await until(
      'three fills are under way',
      async () => upstream.bytesSent() - before > (1 + round / 4) * mib,
    );
    await mirror.kill();
    const cut = await Promise.all(asking);
    const startMs = performance.now();
    await mirror.restart();
    const readyMs = performance.now() - startMs;

    assert.ok(cut.every(({ complete }) => !complete));
    // The process start itself takes most of it; a machine under load needs a multiple.
    assert.ok(readyMs < 5_000, `round ${round}: ready after ${readyMs} ms`);
    const kept = await get(urlOf(small.digest));
    assert.equal(kept.headers['x-cache'], 'HIT');
    assert.equal(kept.digest, small.digest);
    await until('partials are gone', async () => (await partials(mirror.storagePath)) === 0);
    for (const file of await storedFiles(mirror.storagePath)) {
      assert.equal(
        sha256(await readFile(file)),
        `${basename(dirname(dirname(file)))}:${basename(file)}`,
      );
    }
  }
  const last = await Promise.all(blobs.map(({ digest }) => get(urlOf(digest))));

  assert.deepEqual(
    last.map(({ digest }) => digest),
    blobs.map(({ digest }) => digest),
  );
});

async function storedFiles(storagePath: string): Promise<string[]> {
  return filesBelow(join(storagePath, 'v1', 'blobs'));
}

async function partials(storagePath: string): Promise<number> {
  const [now, old] = await Promise.all(
    ['tmp', 'tmp-old'].map((name) => filesBelow(join(storagePath, 'v1', name))),
  );
  return (now?.length ?? 0) + (old?.length ?? 0);
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'damaged', layers: [50_000] });

interface ChangePage {
  readonly items: readonly { readonly tag: string }[];
  readonly log: string;
  readonly latest: number;
}

async function changes(mirror: TestMirror, query = ''): Promise<[number, ChangePage]> {
  const answer = await fetch(`${mirror.adminUrl}/api/v1/changes${query}`);
  return [answer.status, (await answer.json()) as ChangePage];
}

/** Whatever is written to the log of changes from now on is refused, as by a full disk. */
function refuseChanges(storagePath: string): void {
  const database = new DatabaseSync(join(storagePath, 'v1', 'changes.db'));
  database.exec(
    `CREATE TRIGGER full BEFORE INSERT ON changes
     BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`,
  );
  database.close();
}

test('a tag is served when its change cannot be noted, and who follows the log learns of the gap', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  for (const tag of ['1', '2', '3']) upstream.add('library/app', image, tag);
  await get(`${mirror.url}/v2/app/manifests/1`);
  const [, before] = await changes(mirror);
  refuseChanges(mirror.storagePath);

  const waiting = changes(mirror, `?log=${before.log}&since=${before.latest}&wait=30s`);
  const answer = await get(`${mirror.url}/v2/app/manifests/2`);
  const [waitedFor] = await waiting;
  const [, anew] = await changes(mirror);
  await get(`${mirror.url}/v2/app/manifests/3`);
  const [status, after] = await changes(mirror, `?log=${anew.log}&since=${anew.latest}`);

  assert.equal(answer.digest, image.manifest.digest);
  assert.equal(waitedFor, 410);
  assert.notEqual(anew.log, before.log);
  assert.deepEqual([status, after.items.map(({ tag }) => tag)], [200, ['3']]);
  assert.equal(mirror.observedOf('store-failed')[0]?.operation, 'changes');
  assert.deepEqual(mirror.observedOf('bug'), []);
});

test('an image that is whole on a disk that takes no note of it is no bug, and the mirror stops as ever', async () => {
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  const mirror = await startMirror({ upstream });
  await get(`${mirror.url}/v2/app/manifests/1`);
  refuseChanges(mirror.storagePath);

  for (const { digest } of [image.config, ...image.layers]) {
    await get(`${mirror.url}/v2/app/blobs/${digest}`);
  }
  await mirror.observed('store-failed', ({ operation }) => operation === 'changes');
  await mirror[Symbol.asyncDispose]();

  assert.deepEqual(mirror.observedOf('bug'), []);
});

test('it starts, serves and stops on a disk that takes no byte', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  const config = {
    storage: { path: folder.path, minFree: '0' },
    upstreams: { 'docker.io': { urls: [upstream.url] } },
  };
  {
    await using whole = await startEntrepotProcess({ config });
    await get(`${whole.url}/v2/app/manifests/1`);
  }

  // Every write to a file fails with EFBIG.
  await using mirror = await startEntrepotProcess({ config, shell: "trap '' XFSZ; ulimit -f 0" });
  const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
  const layer = await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);
  await mirror.stop();

  assert.equal(manifest.digest, image.manifest.digest);
  assert.equal(layer.digest, image.layers[0]!.digest);
  assert.equal(mirror.exited(), 0);
  assert.doesNotMatch(mirror.output(), /this is a bug/);
});

const damages: Readonly<Record<string, (file: string) => Promise<unknown>>> = {
  'is no database': (file) => writeFile(file, Buffer.alloc(8192, 'garbage')),
  'is a folder': (file) => mkdir(file),
};

for (const [how, damage] of Object.entries(damages)) {
  test(`it starts when a database or the lock ${how}; what is of use to somebody is put aside`, async () => {
    await using folder = await temporaryFolder();
    await using upstream = await startScriptedRegistry();
    upstream.add('library/app', image, '1');
    for (const name of ['lock', 'changes.db', 'names.db', 'recency.db', 'checksums.db']) {
      const file = join(folder.path, 'v1', name);
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await damage(file);
    }

    await using mirror = await startMirror({
      upstream,
      config: { storage: { path: folder.path } },
    });
    const answer = await get(`${mirror.url}/v2/app/manifests/1`);
    const [status, { items }] = await changes(mirror);

    assert.equal(answer.digest, image.manifest.digest);
    assert.deepEqual([status, items.length], [200, 1]);
    assert.ok((await readdir(join(folder.path, 'v1'))).includes('changes.db.corrupt'));
  });
}

test('a damaged lock locks all the same: never two mirrors in one folder', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  const lock = join(folder.path, 'v1', 'lock');
  await mkdir(dirname(lock), { mode: 0o700 });
  await writeFile(lock, Buffer.alloc(8192, 'garbage'));
  const config = {
    storage: { path: folder.path },
    upstreams: { 'docker.io': { urls: [upstream.url] } },
  };

  const started = await Promise.allSettled([1, 2, 3].map(() => startEntrepotProcess({ config })));
  const running = started.filter(({ status }) => status === 'fulfilled');
  const refused = started.flatMap((result) =>
    result.status === 'rejected' ? [String(result.reason)] : [],
  );
  for (const result of started) {
    if (result.status === 'fulfilled') await result.value[Symbol.asyncDispose]();
  }

  assert.equal(running.length, 1);
  assert.equal(refused.length, 2);
  for (const reason of refused) assert.match(reason, /another process uses the storage folder/);
});

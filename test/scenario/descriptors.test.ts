import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { shareDescriptors } from '../../src/wiring/descriptors.ts';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob } from '../kit/images.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { storedFiles } from '../kit/store-folder.ts';
import { until } from '../kit/wait-for.ts';

test('with few descriptors every blob is cached and every hit is served, one client or many', async () => {
  await using upstream = await startScriptedRegistry();
  const blobs = Array.from({ length: 320 }, (_, seed) => makeBlob(seed, 3_000));
  for (const blob of blobs) upstream.addBlob('library/app', blob);
  await using mirror = await startEntrepotProcess({
    config: {
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
    shell: 'ulimit -n 256',
  });
  const pull = async ({ digest }: (typeof blobs)[0]): Promise<boolean> =>
    (await get(`${mirror.url}/v2/app/blobs/${digest}`)).digest === digest;

  for (const blob of blobs) assert.ok(await pull(blob));
  await until('all are stored', async () => {
    return (await storedFiles(mirror.storagePath)).length === blobs.length;
  });
  const hits = await Promise.all(blobs.slice(0, 80).map(pull));

  assert.ok(hits.every(Boolean));
  const complaints = mirror
    .output()
    .split('\n')
    .filter((line) => /EMFILE|uncached/.test(line));
  assert.deepEqual(complaints.slice(0, 3), []);
});

test('more clients than there are descriptors for are refused, and the others are served', async () => {
  await using upstream = await startScriptedRegistry();
  const blob = makeBlob('few', 3_000);
  upstream.addBlob('library/app', blob);
  await using mirror = await startEntrepotProcess({
    config: {
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
    shell: 'ulimit -n 200',
  });
  const url = `${mirror.url}/v2/app/blobs/${blob.digest}`;
  const { clients } = shareDescriptors(200);
  await get(url);

  const { hostname, port } = new URL(mirror.url);
  const silent = Array.from({ length: 300 }, () => connect(Number(port), hostname));
  let cut = 0;
  for (const socket of silent) {
    socket.on('error', () => {});
    socket.resume();
    socket.on('close', () => (cut += 1));
  }
  await until('the rest is refused', () => cut >= 300 - clients);
  const ready = await get(`${mirror.adminUrl}/readyz`);
  for (const socket of silent) socket.destroy();
  await until('there is room again', async () => (await get(url)).digest === blob.digest);
  await until('it is told', () => /connections of clients were refused/.test(mirror.output()));

  assert.equal(ready.status, 200);
});

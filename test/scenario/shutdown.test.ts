import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemDisk, type Disk } from '../../src/store/disk.ts';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror as startTestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { arrivingFiles, assertFilesAreTheirNames, storedFiles } from '../kit/store-folder.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

function startMirror(upstreamUrl: string, shutdownTimeout: string): Promise<EntrepotProcess> {
  return startEntrepotProcess({
    config: {
      registry: { shutdownTimeout },
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstreamUrl], connectionsPerBlob: 1 } },
    },
  });
}

/** What the server sees of a client that has begun to read and reads on slowly. */
async function untilReading(mirror: EntrepotProcess, clients: number): Promise<void> {
  await until(`${clients} clients are in the middle of a body`, async () => {
    const stats = await fetch(`${mirror.adminUrl}/api/v1/stats`);
    const { fills } = (await stats.json()) as { fills: { clients: number; doneBytes: number }[] };
    const reading = fills.reduce((sum, fill) => sum + (fill.doneBytes > 0 ? fill.clients : 0), 0);
    return reading === clients;
  });
}

test('SIGTERM under load: every body ends whole, no new client is taken, nothing is left half done, exit 0', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 8 * mib });
  const image = makeImage({ seed: 'drained', layers: [300_000] });
  upstream.add('library/app', image, '1');
  const blobs = [1, 2, 3, 4].map((seed) => makeBlob(`drained ${seed}`, 12 * mib));
  for (const blob of blobs) upstream.addBlob('library/app', blob);
  await using mirror = await startMirror(upstream.url, '20s');
  const urlOf = (digest: string): string => `${mirror.url}/v2/library/app/blobs/${digest}`;
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  using agent = Object.assign(new Agent({ keepAlive: true }), {
    [Symbol.dispose]: () => agent.destroy(),
  });
  const pulls = blobs.flatMap(({ digest }) =>
    Array.from({ length: 8 }, (_, at) => ({
      digest,
      // One of each eight is slower than upstream; one keeps its connection and asks for more.
      answer: get(urlOf(digest), {
        ...(at === 0 ? { readBytesPerSecond: 5 * mib } : {}),
        ...(at === 1 ? { agent } : {}),
      }),
    })),
  );
  await untilReading(mirror, pulls.length);

  process.kill(mirror.pid, 'SIGTERM');
  await until('it is not ready', async () => {
    return (await get(`${mirror.adminUrl}/readyz`)).status === 503;
  });
  const readyz = await get(`${mirror.adminUrl}/readyz`);
  const late = await get(`${mirror.url}/v2/`);
  const answers = await Promise.all(pulls.map(({ answer }) => answer));
  const endMs = performance.now();
  await until('the process ends', () => mirror.exited() !== undefined);
  const lingerMs = performance.now() - endMs;

  assert.match(readyz.body.toString(), /shutting down/);
  assert.equal(late.status, 0, 'no new client is taken');
  for (const [at, answer] of answers.entries()) {
    assert.ok(answer.complete, `${at}: ${answer.bodyBytes} bytes, ${answer.error?.message}`);
    assert.equal(answer.digest, pulls[at]?.digest);
  }
  assert.equal(mirror.exited(), 0);
  assert.ok(lingerMs < 3_000, `${lingerMs} ms after the last body`);
  assert.deepEqual(await arrivingFiles(mirror.storagePath), []);
  // The four, and the image with what was read ahead.
  assert.equal((await storedFiles(mirror.storagePath)).length, 4 + 3);
  await assertFilesAreTheirNames(mirror.storagePath);
});

test('a connection that is kept may finish its pull during the shutdown, then it is closed', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 8 * mib });
  const image = makeImage({ seed: 'kept', layers: [300_000] });
  const blob = makeBlob('kept long', 8 * mib);
  upstream.add('library/app', image, '1');
  upstream.addBlob('library/app', blob);
  await using mirror = await startMirror(upstream.url, '20s');
  using agent = Object.assign(new Agent({ keepAlive: true, maxSockets: 1 }), {
    [Symbol.dispose]: () => agent.destroy(),
  });
  const first = get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`, { agent });
  const next = get(`${mirror.url}/v2/library/app/manifests/1`, { agent });
  await untilReading(mirror, 1);

  process.kill(mirror.pid, 'SIGTERM');
  const answers = await Promise.all([first, next]);
  await until('the process ends', () => mirror.exited() !== undefined);

  assert.deepEqual(
    answers.map(({ status, complete, digest }) => [status, complete, digest]),
    [
      [200, true, blob.digest],
      [200, true, image.manifest.digest],
    ],
  );
  assert.equal(answers[1]?.headers.connection, 'close');
  assert.equal(mirror.exited(), 0);
});

test('what is not done at the deadline is cut, by FIN; nothing is left half done, exit 0', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: mib });
  const blob = makeBlob('cut', 32 * mib);
  upstream.addBlob('library/app', blob);
  await using mirror = await startMirror(upstream.url, '700ms');
  const asking = [1, 2, 3].map(() => get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`));
  await untilReading(mirror, 3);

  const startMs = performance.now();
  process.kill(mirror.pid, 'SIGTERM');
  const answers = await Promise.all(asking);
  const cutMs = performance.now() - startMs;
  await until('the process ends', () => mirror.exited() !== undefined);

  for (const answer of answers) {
    assert.deepEqual([answer.complete, answer.cutWith], [false, 'FIN']);
  }
  assert.ok(cutMs >= 650, `cut after ${cutMs} ms`);
  assert.equal(mirror.exited(), 0);
  assert.deepEqual(await arrivingFiles(mirror.storagePath), []);
  assert.deepEqual(await storedFiles(mirror.storagePath), []);
});

test('a second SIGTERM ends it at once', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: mib / 4 });
  const blob = makeBlob('at once', 32 * mib);
  upstream.addBlob('library/app', blob);
  await using mirror = await startMirror(upstream.url, '1m');
  const asking = get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  await untilReading(mirror, 1);

  process.kill(mirror.pid, 'SIGTERM');
  await until('it shuts down', async () => {
    return (await get(`${mirror.adminUrl}/readyz`)).status === 503;
  });
  const startMs = performance.now();
  process.kill(mirror.pid, 'SIGTERM');
  await until('the process ends', () => mirror.exited() !== undefined);

  assert.ok(performance.now() - startMs < 5_000);
  assert.equal(mirror.exited(), 'SIGTERM');
  assert.equal((await asking).complete, false);
});

/** The standard output is a pipe that nobody reads, and that is full. */
async function startUnread(upstreamUrl: string, pipe: string): Promise<EntrepotProcess> {
  execFileSync('mkfifo', [pipe]);
  const mirror = await startEntrepotProcess({
    config: {
      log: { level: 'debug' },
      registry: { shutdownTimeout: '1m' },
      upstreams: { 'docker.io': { urls: [upstreamUrl] } },
    },
    shell: `exec 3<>'${pipe}' >&3`,
  });
  for (let at = 0; at < 600; at += 1) await get(`${mirror.url}/v2/`);
  return mirror;
}

test('SIGTERM ends it within seconds, with 0, when nobody reads its log', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  await using mirror = await startUnread(upstream.url, join(folder.path, 'log'));

  process.kill(mirror.pid, 'SIGTERM');
  await until('the process ends', () => mirror.exited() !== undefined);

  assert.equal(mirror.exited(), 0);
});

test('a second SIGTERM ends it at once, also when nobody reads its log', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: mib / 4 });
  const blob = makeBlob('unread', 32 * mib);
  upstream.addBlob('library/app', blob);
  await using mirror = await startUnread(upstream.url, join(folder.path, 'log'));
  const asking = get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  await untilReading(mirror, 1);

  process.kill(mirror.pid, 'SIGTERM');
  await until('it shuts down', async () => {
    return (await get(`${mirror.adminUrl}/readyz`)).status === 503;
  });
  const startMs = performance.now();
  process.kill(mirror.pid, 'SIGTERM');
  await until('the process ends', () => mirror.exited() !== undefined);

  assert.ok(performance.now() - startMs < 1_000);
  assert.equal((await asking).complete, false);
});

test('a download that is about to begin when the mirror closes does not outlive it', async () => {
  const image = makeImage({ seed: 'about to begin', layers: [100_000] });
  const layer = image.layers[0]!.digest.slice('sha256:'.length);
  const looking = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  const disk: Disk = {
    ...systemDisk,
    open: async (path, flags) => {
      if (path.endsWith(layer)) {
        looking.resolve();
        await answer.promise;
      }
      return systemDisk.open(path, flags);
    },
  };
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startTestMirror({ upstream, disk });
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  await looking.promise;

  const closing = mirror.restart();
  const isEarly = await Promise.race([closing.then(() => true), sleep(300, false)]);
  answer.resolve();
  await closing;
  await sleep(100);

  assert.equal(isEarly, false, 'it waits for what looks into the store');
  assert.equal(upstream.count({ kind: 'blob', reference: image.layers[0]!.digest }), 0);
});

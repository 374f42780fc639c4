import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob } from '../kit/images.ts';
import { SeededRandom } from '../kit/random.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import {
  arrivingFiles,
  assertFilesAreTheirNames,
  occupiedBytes,
  storedFiles,
} from '../kit/store-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

/** `SEEDS=500` runs them all. */
const seeds = Number(process.env['SEEDS'] ?? 60);

function startMirror(upstreamUrl: string, maxSize: string): Promise<EntrepotProcess> {
  return startEntrepotProcess({
    config: {
      log: { level: 'warn' },
      storage: { minFree: '0', maxSize },
      upstreams: { 'docker.io': { urls: [upstreamUrl], connectionsPerBlob: 2 } },
    },
  });
}

test(`killed at any byte of fills and evictions, by ${seeds} seeds: nothing wrong, nothing lost, within the budget`, async () => {
  const budgetBytes = 48 * mib;
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 64 * mib });
  const sizes = [1, 30_000, 700_000, 2 * mib, 5 * mib, 9 * mib, 13 * mib, 20 * mib];
  const blobs = sizes.map((size) => makeBlob(`kill ${size}`, size));
  for (const blob of blobs) upstream.addBlob('library/app', blob);
  await using mirror = await startMirror(upstream.url, '48MiB');
  const urlOf = (digest: string): string => `${mirror.url}/v2/library/app/blobs/${digest}`;

  for (let seed = 1; seed <= seeds; seed += 1) {
    const random = new SeededRandom(`kill ${seed}`);
    const wanted = [0, 1, 2].map(() => random.pick(blobs));
    const bytes = new Set(wanted).values().reduce((sum, blob) => sum + blob.bytes.length, 0);
    const killAt = upstream.bytesSent() + random.below(bytes * 1.1);
    const asking = wanted.map(({ digest }) => get(urlOf(digest)));
    const answered = Promise.all(asking).then(() => true);
    // What is cached crosses no link: then it is the end of the answers that decides.
    let isAnswered = false;
    void answered.then(() => (isAnswered = true));
    await until('the moment to kill', () => isAnswered || upstream.bytesSent() >= killAt);
    await mirror.kill();
    const answers = await Promise.all(asking);
    await mirror.restart();

    const hint = `seed ${seed}`;
    for (const [at, answer] of answers.entries()) {
      if (answer.complete) assert.equal(answer.digest, wanted[at]?.digest, hint);
    }
    const again = random.pick(blobs);
    const whole = await get(urlOf(again.digest));
    assert.equal(whole.digest, again.digest, hint);
    assert.ok(whole.complete, hint);
    await until('nothing arrives any more', async () => {
      return (await arrivingFiles(mirror.storagePath)).length === 0;
    });
    await assertFilesAreTheirNames(mirror.storagePath, hint);
    const occupied = await occupiedBytes(mirror.storagePath);
    assert.ok(occupied <= budgetBytes, `${hint}: ${occupied} bytes are occupied`);
  }
});

test('killed in the middle of a large blob, it goes on where it was, and what was stored is a hit', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 24 * mib });
  const large = makeBlob('resumed', 96 * mib);
  const small = makeBlob('kept', 300_000);
  for (const blob of [large, small]) upstream.addBlob('library/app', blob);
  await using mirror = await startMirror(upstream.url, '1GiB');
  const urlOf = (digest: string): string => `${mirror.url}/v2/library/app/blobs/${digest}`;
  await get(urlOf(small.digest));
  await until('the small blob is stored', async () => {
    return (await storedFiles(mirror.storagePath)).length === 1;
  });
  const asking = get(urlOf(large.digest));
  await until('two thirds are sent', () => upstream.bytesSent() > 64 * mib);
  await mirror.kill();
  assert.equal((await asking).complete, false);

  const startMs = performance.now();
  await mirror.restart();
  const readyMs = performance.now() - startMs;
  const kept = await get(urlOf(small.digest));
  const before = upstream.bytesSent();
  await until('the partial is taken over', async () => {
    return (await arrivingFiles(mirror.storagePath)).length === 0;
  });
  const whole = await get(urlOf(large.digest));

  // The start of a process takes most of it; a machine under load needs a multiple.
  assert.ok(readyMs < 5_000, `ready after ${readyMs} ms`);
  assert.equal(kept.headers['x-cache'], 'HIT');
  assert.equal(whole.digest, large.digest);
  const sent = upstream.bytesSent() - before;
  assert.ok(sent < 72 * mib, `${sent / mib} MiB were fetched again`);
  await until('it is stored', async () => (await storedFiles(mirror.storagePath)).length === 2);
  await assertFilesAreTheirNames(mirror.storagePath);
});

test('two mirrors never share a folder: the second one says so and ends', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror(upstream.url, '1GiB');

  const second = startEntrepotProcess({
    config: {
      storage: { path: mirror.storagePath },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
  });

  await assert.rejects(second, (error: Error) =>
    error.message.includes('another process uses the storage folder'),
  );
  assert.equal((await get(`${mirror.url}/v2/`)).status, 200);
});

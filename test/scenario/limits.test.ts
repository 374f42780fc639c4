import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stats } from '../../src/api/stats.ts';
import type { Upstream } from '../../src/api/upstreams.ts';
import { runCli } from '../../src/cli/program.ts';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

/** Eight of them take ten seconds at 10 MB/s. */
const blobBytes = 12_500_000;

/** What a running prewarm has brought so far. */
async function warmedBytes(mirror: TestMirror): Promise<number> {
  const answer = await get(`${mirror.adminUrl}/api/v1/stats`);
  const { fills } = JSON.parse(answer.body.toString()) as Stats;
  return fills
    .filter(({ reason }) => reason === 'prewarm')
    .reduce((sum, { doneBytes }) => sum + doneBytes, 0);
}

test('eight downloads keep to the bandwidth of the upstream, and leave nothing of it to a prewarm', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { bandwidth: '10MB/s' } });
  const blobs = Array.from({ length: 8 }, (_, at) => makeBlob(`limited-${at}`, blobBytes));
  for (const blob of blobs) upstream.addBlob('library/app', blob);
  const warmed = makeImage({ seed: 'warmed', layers: [8e6, 8e6, 8e6] });
  upstream.add('library/warmed', warmed, '1');
  await fetch(`${mirror.adminUrl}/api/v1/prewarm`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ images: ['warmed:1'] }),
  });
  await mirror.observed('fill-started', ({ reason }) => reason === 'prewarm');
  const before = await warmedBytes(mirror);

  const startMs = performance.now();
  const answers = await Promise.all(
    blobs.map(({ digest }) => get(`${mirror.url}/v2/library/app/blobs/${digest}`)),
  );
  const seconds = (performance.now() - startMs) / 1000;

  const ofPrewarm = (await warmedBytes(mirror)) - before;
  const rate = (8 * blobBytes + ofPrewarm) / seconds;
  assert.deepEqual(
    answers.map(({ digest }) => digest),
    blobs.map(({ digest }) => digest),
  );
  assert.ok(rate > 9e6 && rate < 11e6, `${Math.round(rate)} bytes a second in ${seconds} s`);

  assert.ok(ofPrewarm < rate / 2, `${ofPrewarm} bytes for the prewarm in ${seconds} s`);
});

test('under a bandwidth limit what a client waits for comes before what is read ahead', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { bandwidth: '4MB/s' } });
  const image = makeImage({ seed: 'ahead', layers: [3_000_000, 3_000_000, 3_000_000] });
  const wanted = makeBlob('wanted', 4_000_000);
  upstream.add('library/app', image, '1');
  upstream.addBlob('library/app', wanted);
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  await upstream.arrived({ kind: 'blob', reference: image.layers[2]!.digest });

  const got = await get(`${mirror.url}/v2/library/app/blobs/${wanted.digest}`);

  assert.equal(got.digest, wanted.digest);
  // Alone it takes one second, beside three that have the same rights four.
  assert.ok(got.totalMs < 2_000, `${got.totalMs} ms`);
});

test('requests a second are kept to', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { requestsPerSecond: 20 } });
  const asked = Array.from({ length: 40 }, (_, at) => `${mirror.url}/v2/app/manifests/none-${at}`);

  const startMs = performance.now();
  await Promise.all(asked.map((url) => get(url)));
  const seconds = (performance.now() - startMs) / 1000;

  assert.equal(upstream.count(), 40);
  // A quarter of a second's worth may go out at once.
  assert.ok(seconds > 1.6 && seconds < 3, `${seconds} s`);
});

test('what upstream says of the quota is known by account, and pulls are told from checks', async () => {
  const headers = {
    'ratelimit-limit': '100;w=21600',
    'ratelimit-remaining': '76;w=21600',
    'docker-ratelimit-source': '192.0.2.1',
  };
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'manifest' }, do: { headers } }],
  });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  const image = makeImage({ seed: 'quota', layers: [100] });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  for (let times = 0; times < 3; times += 1) await get(url);
  await get(`${mirror.url}/v2/library/app/blobs/${image.layers[0]!.digest}`);

  const [state] = mirror.app.mirror.upstreams();
  const [quota] = state!.quotas;
  assert.deepEqual(
    { ...quota, seenMs: undefined },
    {
      account: 'anonymous',
      source: '192.0.2.1',
      limit: 100,
      remaining: 76,
      windowSeconds: 21_600,
      seenMs: undefined,
      pulls: 1,
      checks: 2,
    },
  );
  assert.ok(Math.abs(Date.now() - quota!.seenMs!) < 10_000);
  assert.equal(mirror.observedOf('quota-seen').length, 1);
});

test('stats and metrics show the quota and what is paused', async () => {
  const headers = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '0;w=21600' };
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { method: 'GET', kind: 'manifest' }, skip: 1, do: { status: 429, headers } },
      { when: { kind: 'manifest' }, do: { headers } },
    ],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', makeImage({ seed: 'shown', layers: [100] }), '1');
  for (const name of ['app', 'other']) await get(`${mirror.url}/v2/${name}/manifests/1`);

  const stats = await get(`${mirror.app.adminUrl}/api/v1/stats`);
  const metrics = (await get(`${mirror.app.adminUrl}/metrics`)).body.toString();

  const [shown] = (JSON.parse(stats.body.toString()) as { upstreams: Upstream[] }).upstreams;
  const [quota] = shown!.quotas;
  const [pause] = shown!.pauses;
  assert.deepEqual([quota?.limit, quota?.remaining, quota?.pulls], [100, 0, 1]);
  assert.equal(pause?.scope, 'pulls');
  assert.ok(pause.secondsLeft > 10 && pause.secondsLeft <= 17, String(pause.secondsLeft));
  let printed = '';
  await runCli(['stats', '--server', mirror.adminUrl], {
    env: {},
    stdout: { write: (text) => (printed += text) },
    stderr: { write: () => {} },
    serve: () => Promise.resolve(0),
  });
  assert.match(printed, /HEADS +PULLS LEFT/);
  assert.match(printed, /docker\.io +429: pulls paused 1\d s +.* 1 +0 +0 of 100/);
  const labels = 'upstream="docker.io",account="anonymous"';
  assert.ok(metrics.includes(`entrepot_upstream_quota_limit{${labels}} 100`));
  assert.ok(metrics.includes(`entrepot_upstream_quota_remaining{${labels}} 0`));
  assert.ok(metrics.includes(`entrepot_upstream_account_pulls_total{${labels}} 1`));
  assert.match(
    metrics,
    /entrepot_upstream_paused_seconds\{upstream="docker.io",scope="pulls"\} 1\d/,
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeImage, makeIndex } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { api, ended, prewarm, type RunAnswer } from '../kit/runs.ts';
import { until } from '../kit/wait-for.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'warm', layers: [200_000, 300_000] });
const imageBytes = [image.config, ...image.layers].reduce((sum, one) => sum + one.bytes.length, 0);

function addTags(upstream: ScriptedRegistry, tags: string[]): Map<string, typeof image> {
  const images = new Map<string, typeof image>();
  for (const tag of tags) {
    const one = makeImage({ seed: tag, layers: [30_000] });
    upstream.add('library/base', one, tag);
    images.set(tag, one);
  }
  return images;
}

test('images that somebody names are fetched whole; the second time nothing is', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const first = await prewarm(mirror, { images: ['app:1'] });

  assert.equal(first.state, 'succeeded', JSON.stringify(first));
  assert.deepEqual(first.progress, {
    imagesDone: 1,
    imagesTotal: 1,
    blobsDone: 3,
    blobsTotal: 3,
    bytesDone: imageBytes,
    bytesTotal: imageBytes,
    bytesFetched: imageBytes,
  });
  const before = upstream.count({ kind: 'blob' });
  const second = await prewarm(mirror, { images: ['docker.io/library/app:1'] });
  assert.deepEqual([second.state, second.progress['bytesFetched']], ['succeeded', 0]);
  assert.equal(upstream.count({ kind: 'blob' }), before);

  await upstream.stop();
  const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
  assert.equal(manifest.status, 200);
  for (const { digest } of [image.config, ...image.layers]) {
    const blob = await get(`${mirror.url}/v2/app/blobs/${digest}`);
    assert.deepEqual([blob.digest, blob.headers['x-cache']], [digest, 'HIT']);
  }
});

test('what upstream did not have when a client asked is fetched as soon as it is there', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { negativeTtl: '1h' } });
  const url = `${mirror.url}/v2/library/app`;
  await get(`${url}/manifests/1`);
  await get(`${url}/tags/list`);
  upstream.add('library/app', image, '1');

  const named = await prewarm(mirror, { images: ['app:1'] });
  const selected = await prewarm(mirror, { images: ['app:*'] });
  const answer = await get(`${url}/manifests/1`);

  assert.deepEqual([named.state, selected.state], ['succeeded', 'succeeded']);
  assert.equal(selected.progress['imagesDone'], 1);
  assert.equal(answer.digest, image.manifest.digest);
});

test('a rule on a timetable brings the tags that it selects, and no others', async () => {
  await using upstream = await startScriptedRegistry();
  const images = addTags(upstream, ['1.0', '1.1', '2.0', 'latest']);
  await using mirror = await startMirror({
    upstream,
    config: {
      prewarm: [{ name: 'base', images: ['docker.io/library/base:1.*'], schedule: '* * * * * *' }],
    },
  });

  await mirror.observed(
    'run-changed',
    ({ job, state }) => job === 'prewarm:base' && state === 'succeeded',
  );
  await upstream.stop();

  for (const [tag, one] of images) {
    const answer = await get(`${mirror.url}/v2/base/manifests/${tag}`);
    assert.equal(answer.status, tag.startsWith('1.') ? 200 : 503, tag);
    if (answer.status !== 200) continue;
    for (const { digest } of [one.config, ...one.layers]) {
      assert.equal((await get(`${mirror.url}/v2/base/blobs/${digest}`)).headers['x-cache'], 'HIT');
    }
  }
  const { items } = await api<{ items: { name: string; schedule: string; lastRun: RunAnswer }[] }>(
    mirror,
    '/jobs',
  );
  const job = items.find(({ name }) => name === 'prewarm:base');
  assert.equal(job?.schedule, '* * * * * *');
});

test('of an index only the wanted platforms are fetched', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const index = makeIndex([
    makeImage({ seed: 'amd', layers: [40_000] }),
    makeImage({
      seed: 'arm',
      layers: [50_000],
      platform: 'linux/arm64/v8',
    }),
  ]);
  upstream.add('library/multi', index, '1');
  const [amd, arm] = index.images;

  const byDefault = await prewarm(mirror, { images: ['multi:1'] });
  assert.equal(byDefault.state, 'succeeded', JSON.stringify(byDefault));
  assert.equal(upstream.count({ kind: 'blob', reference: amd!.layers[0]!.digest }), 1);
  assert.equal(upstream.count({ kind: 'blob', reference: arm!.layers[0]!.digest }), 0);

  await prewarm(mirror, { images: ['multi:1'], platforms: ['linux/arm64'] });
  assert.equal(upstream.count({ kind: 'blob', reference: arm!.layers[0]!.digest }), 1);
});

test('one that does not exist stops no other: the run is partial, and says which', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const run = await prewarm(mirror, { images: ['app:missing', 'app:1'] });

  assert.equal(run.state, 'partial');
  assert.deepEqual(
    run.errors.map(({ object }) => object),
    ['docker.io/library/app:missing'],
  );
  assert.equal(run.progress['imagesDone'], 1);
});

test('a dry run says what would be fetched, and fetches no blob', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const run = await prewarm(mirror, { images: ['app:1'], dryRun: true });

  assert.equal(run.state, 'succeeded');
  assert.equal(run.progress['bytesTotal'], imageBytes);
  assert.match(
    run.log.map(({ text }) => text).join('\n'),
    new RegExp(`3 blobs with ${imageBytes} bytes`),
  );
  assert.equal(upstream.count({ kind: 'blob' }), 0);
});

test('cancelled, a run ends at once and leaves nothing half done', async () => {
  const large = makeImage({ seed: 'large', layers: [32 * 1024 * 1024] });
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 4 * 1024 * 1024 });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/large', large, '1');
  const { id } = await api<RunAnswer>(mirror, '/prewarm', 'POST', { images: ['large:1'] });
  await upstream.arrived({ kind: 'blob', reference: large.layers[0]!.digest });

  const cancelledMs = performance.now();
  await api(mirror, `/runs/${id}`, 'DELETE');
  const run = await ended(mirror, id);

  assert.equal(run.state, 'cancelled');
  assert.ok(performance.now() - cancelledMs < 2_000);
  await mirror.observed('fill-failed', ({ code }) => code === 'CANCELLED');
  // The config had arrived whole, and may be on its last write.
  await until('no transfer is left', async () => {
    const { fills } = await api<{ fills: unknown[] }>(mirror, '/stats');
    return fills.length === 0;
  });
});

test('what a dead process was in the middle of goes on at the next start', async () => {
  const large = makeImage({ seed: 'resumed', layers: [8 * 1024 * 1024, 100_000] });
  const held = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'blob', reference: large.layers[0]!.digest },
        times: 1,
        do: { stall: { afterBytes: 1024, until: held.promise } },
      },
    ],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/large', large, '1');
  await api(mirror, '/prewarm', 'POST', { images: ['large:1'] });
  await upstream.arrived({ kind: 'blob', reference: large.layers[0]!.digest });

  await mirror.restart();
  held.resolve();
  await mirror.observed('run-changed', ({ state }) => state === 'succeeded');

  const { items } = await api<{ items: { trigger: string; state: string }[] }>(mirror, '/runs');
  assert.deepEqual(
    items.map(({ trigger, state }) => [trigger, state]),
    [
      ['start', 'succeeded'],
      ['manual', 'cancelled'],
    ],
  );
});

test('waits while too few pulls are left for clients, and says why', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'manifest' },
        do: { headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '40;w=21600' } },
      },
    ],
  });
  await using mirror = await startMirror({
    upstream,
    config: {
      prewarm: [{ name: 'kept', images: ['library/app:1', 'library/app:2'], keepQuota: 50 }],
    },
  });
  for (const tag of ['1', '2']) upstream.add('library/app', image, tag);

  const { id } = await api<RunAnswer>(mirror, '/jobs/prewarm:kept/run', 'POST');
  await mirror.observed('run-changed', ({ reason }) => reason?.includes('pulls') === true);
  const waiting = await api<RunAnswer>(mirror, `/runs/${id}`);

  assert.equal(waiting.state, 'waiting');
  assert.match(waiting.reason ?? '', /40 of 100 pulls are left.*50 are kept for clients/);
  assert.equal(waiting.progress['imagesDone'], 0, 'a HEAD told how many are left');
  const { upstreams } = await api<{ upstreams: { quotas: { remaining: number }[] }[] }>(
    mirror,
    '/stats',
  );
  assert.equal(upstreams[0]?.quotas[0]?.remaining, 40);
  const metrics = await (await fetch(`${mirror.adminUrl}/metrics`)).text();
  assert.match(
    metrics,
    /entrepot_upstream_quota_remaining\{upstream="docker\.io",account="anonymous"\} 40/,
  );
});

test('bad input is refused with a reason', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const post = (path: string, body: unknown): Promise<Response> =>
    fetch(`${mirror.adminUrl}/api/v1${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });

  assert.equal((await post('/prewarm', { images: [] })).status, 400);
  assert.match(
    await (await post('/prewarm', { images: ['UPPER:1'] })).text(),
    /UPPER:1.*not an image/,
  );
  assert.equal((await post('/jobs/nothing/run', {})).status, 404);
  assert.equal((await fetch(`${mirror.adminUrl}/api/v1/runs/nothing`)).status, 404);
});

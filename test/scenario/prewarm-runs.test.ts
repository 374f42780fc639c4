import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { descriptorOf, makeImage, sha256 } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { api, ended, prewarm, type RunAnswer } from '../kit/runs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const image = makeImage({ seed: 'runs', layers: [40_000, 50_000] });
const linesOf = ({ log }: RunAnswer): string => log.map(({ text }) => text).join('\n');

async function metricsOf(mirror: TestMirror): Promise<string> {
  return (await fetch(`${mirror.adminUrl}/metrics`)).text();
}

test('a blob that fails is tried again after a pause, as the log of the run says', async () => {
  const [first] = image.layers;
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob', reference: first!.digest }, times: 3, do: { status: 502 } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const run = await prewarm(mirror, { images: ['app:1'] });

  assert.equal(run.state, 'succeeded', JSON.stringify(run));
  assert.match(linesOf(run), new RegExp(`${first!.digest}: .*attempt 2 follows`));
});

test('one image that keeps failing stops no other', async () => {
  const other = makeImage({ seed: 'other', layers: [30_000] });
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob', reference: image.layers[1]!.digest }, do: { status: 404 } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  upstream.add('library/app', other, '2');

  const run = await prewarm(mirror, { images: ['app:1', 'app:2'] });

  assert.equal(run.state, 'partial');
  assert.deepEqual(
    run.errors.map(({ object }) => object),
    ['docker.io/library/app:1'],
  );
  assert.deepEqual([run.progress['imagesDone'], run.progress['imagesTotal']], [1, 2]);
  const metrics = await metricsOf(mirror);
  assert.match(metrics, /^entrepot_runs_total\{job_name="prewarm",state="partial"\} 1$/m);
  assert.match(metrics, /^entrepot_run_failures_total\{job_name="prewarm"\} 1$/m);
  assert.match(metrics, /^entrepot_runs_active\{state="running"\} 0$/m);
});

test('while upstream limits us the run waits, says why, and then goes on', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  upstream.script({
    when: { kind: 'manifest' },
    times: 1,
    do: { status: 429, headers: { 'retry-after': '1' } },
  });

  const run = await prewarm(mirror, { images: ['app:1'] });

  assert.equal(run.state, 'succeeded', JSON.stringify(run));
  const waits = mirror.observedOf('run-changed').filter(({ state }) => state === 'waiting');
  assert.ok(
    waits.some(({ reason }) => /docker\.io.*limit/i.test(reason ?? '')),
    JSON.stringify(waits),
  );
  assert.match(linesOf(run), /attempt 2 follows/);
});

test('outside its window a run waits and fetches nothing; cancelled meanwhile, it ends at once', async () => {
  const hour = (ahead: number): string =>
    `${String((new Date().getHours() + ahead) % 24).padStart(2, '0')}:00`;
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream,
    config: {
      prewarm: [{ name: 'night', images: ['app:1'], window: `${hour(2)}-${hour(3)}` }],
    },
  });
  upstream.add('library/app', image, '1');
  const { id } = await api<RunAnswer>(mirror, '/jobs/prewarm:night/run', 'POST');
  await mirror.observed('run-changed', ({ reason }) => reason?.includes('window') === true);

  const waiting = await api<RunAnswer>(mirror, `/runs/${id}`);
  assert.deepEqual([waiting.state, upstream.count()], ['waiting', 0]);
  assert.match(waiting.reason ?? '', new RegExp(`outside its window ${hour(2)}-${hour(3)}`));
  assert.match(await metricsOf(mirror), /^entrepot_runs_active\{state="waiting"\} 1$/m);
  await api(mirror, `/runs/${id}`, 'DELETE');
  assert.equal((await ended(mirror, id)).state, 'cancelled');
});

test('signatures and what refers to an image come along when asked, by referrers and by cosign’s tags', async () => {
  const subject = descriptorOf(image.manifest);
  const signature = makeImage({ seed: 'signature', layers: [3_000], subject });
  const byTag = makeImage({ seed: 'cosign', layers: [2_000] });
  const sigTag = `${image.manifest.digest.replace(':', '-')}.sig`;
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  upstream.add('library/app', signature);
  upstream.add('library/app', byTag, sigTag);

  const without = await prewarm(mirror, { images: ['app:1'] });
  assert.equal(without.progress['blobsTotal'], 3);
  const run = await prewarm(mirror, { images: ['app:1'], referrers: true });
  assert.equal(run.state, 'succeeded', JSON.stringify(run));
  await upstream.stop();

  const of = `${mirror.url}/v2/app`;
  const listed = await get(`${of}/referrers/${image.manifest.digest}`);
  assert.ok(listed.body.includes(signature.manifest.digest));
  assert.equal((await get(`${of}/manifests/${sigTag}`)).digest, sha256(byTag.manifest.bytes));
  for (const { manifest, layers } of [signature, byTag]) {
    assert.equal((await get(`${of}/manifests/${manifest.digest}`)).status, 200);
    assert.equal((await get(`${of}/blobs/${layers[0]!.digest}`)).status, 200);
  }
});

test('quotas are asked for by a job: one HEAD to each upstream that has one', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'manifest' },
        do: { headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '77;w=21600' } },
      },
    ],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/app/manifests/1`);
  const asked = upstream.count({ kind: 'manifest' });

  const { id } = await api<RunAnswer>(mirror, '/jobs/quota/run', 'POST');
  const run = await ended(mirror, id);

  assert.match(linesOf(run), /docker\.io: 77 of 100 pulls are left/);
  assert.equal(upstream.count({ kind: 'manifest' }), asked + 1);
  assert.equal(upstream.matching({ kind: 'manifest' }).at(-1)?.method, 'HEAD');
});

test('a run that is cancelled ends at once, while upstream hangs and while a client reads along', async () => {
  const large = makeImage({ seed: 'read along', layers: [8 * 1024 * 1024] });
  const [layer] = large.layers;
  const held = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { kind: 'tags' }, do: { holdUntil: held.promise } },
      { when: { kind: 'manifest', reference: 'hangs' }, do: { holdUntil: held.promise } },
      {
        when: { kind: 'blob', reference: layer!.digest },
        do: { stall: { afterBytes: 1024 * 1024, until: held.promise } },
      },
    ],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/large', large, '1');
  const cancelMs = async (images: string[], isUnderWay: Promise<unknown>): Promise<number> => {
    const { id } = await api<RunAnswer>(mirror, '/prewarm', 'POST', { images });
    await isUnderWay;
    const startMs = performance.now();
    await api(mirror, `/runs/${id}`, 'DELETE');
    assert.equal((await ended(mirror, id)).state, 'cancelled');
    return performance.now() - startMs;
  };

  const listing = await cancelMs(['app:1.*'], upstream.arrived({ kind: 'tags' }));
  const asking = await cancelMs(
    ['app:hangs'],
    upstream.arrived({ kind: 'manifest', reference: 'hangs' }),
  );
  const reading = upstream.arrived({ kind: 'blob', reference: layer!.digest }).then(async () => {
    const client = get(`${mirror.url}/v2/large/blobs/${layer!.digest}`);
    await until('the client reads along', async () => {
      const { fills } = await api<{ fills: { clients: number }[] }>(mirror, '/stats');
      return fills[0]?.clients === 1;
    });
    return { client };
  });
  const joined = await cancelMs(['large:1'], reading);
  held.resolve();
  const { client } = await reading;

  for (const ms of [listing, asking, joined]) assert.ok(ms < 2_000, `${ms} ms`);
  assert.equal((await client).digest, layer!.digest, 'the client has all of it');
});

test('a blob that a client began is brought, though the client leaves and its transfer ends', async () => {
  const large = makeImage({ seed: 'left', layers: [60 * 1024 * 1024] });
  const [layer] = large.layers;
  const never = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'blob', reference: layer!.digest },
        times: 1,
        do: { stall: { afterBytes: 1024 * 1024, until: never.promise } },
      },
    ],
  });
  await using mirror = await startMirror({
    upstream,
    settings: { readAhead: false, connectionsPerBlob: 1 },
  });
  upstream.add('library/app', large, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  const leave = new AbortController();
  const client = get(`${mirror.url}/v2/library/app/blobs/${layer!.digest}`, {
    signal: leave.signal,
  });
  await upstream.arrived({ kind: 'blob', reference: layer!.digest });
  const { id } = await api<RunAnswer>(mirror, '/prewarm', 'POST', { images: ['app:1'] });
  await until('the prewarm to wait for it', async () => {
    const { progress } = await api<RunAnswer>(mirror, `/runs/${id}`);
    return progress['blobsDone'] === 1 && progress['bytesDone']! > 500_000;
  });

  leave.abort();
  await client;
  const run = await ended(mirror, id);

  assert.deepEqual([run.state, run.errors], ['succeeded', []]);
  assert.equal(mirror.observedOf('fill-failed')[0]?.code, 'CANCELLED');
  never.resolve();
});

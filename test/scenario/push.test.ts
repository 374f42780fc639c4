import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeImage, makeIndex, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startPushTarget, type PushTargetServer } from '../kit/push-target.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

function startPushing(
  upstream: ScriptedRegistry,
  target: PushTargetServer,
  rule: Record<string, unknown> = {},
): Promise<TestMirror> {
  return startMirror({
    upstream,
    config: {
      site: {
        name: 'source',
        push: [{ name: 'edge', url: target.url, repositories: ['docker.io/**'], ...rule }],
      },
    },
  });
}

async function pull(mirror: TestMirror, name: string, tag: string, image: Image): Promise<void> {
  await get(`${mirror.url}/v2/${name}/manifests/${tag}`);
  await get(`${mirror.url}/v2/${name}/manifests/${image.manifest.digest}`);
  for (const { digest } of [image.config, ...image.layers]) {
    assert.equal((await get(`${mirror.url}/v2/${name}/blobs/${digest}`)).digest, digest);
  }
}

interface RunAnswer {
  readonly id: string;
  readonly state: string;
  readonly errors: { object: string; message: string }[];
  readonly log: { text: string }[];
}

async function runOf(mirror: TestMirror, query = ''): Promise<RunAnswer> {
  const url = `${mirror.adminUrl}/api/v1/sync/edge${query}`;
  const { id } = (await (await fetch(url, { method: 'POST' })).json()) as RunAnswer;
  await mirror.observed(
    'run-changed',
    (run) => run.id === id && ['succeeded', 'partial', 'failed'].includes(run.state),
  );
  return (await (await fetch(`${mirror.adminUrl}/api/v1/runs/${id}`)).json()) as RunAnswer;
}

async function verified(mirror: TestMirror): Promise<{ isEqual: boolean; items: unknown[] }> {
  const answer = await fetch(`${mirror.adminUrl}/api/v1/sync/verify`);
  return (await answer.json()) as { isEqual: boolean; items: unknown[] };
}

test('what becomes whole here is sent, with blobs before manifests and manifests before the tag', async () => {
  await using upstream = await startScriptedRegistry();
  await using target = await startPushTarget({ token: 't0ken', relative: true });
  await using mirror = await startPushing(upstream, target, { to: 'mirror/{registry}/{name}' });
  const [one, two] = ['one', 'two'].map((seed) => makeImage({ seed, layers: [60_000, 40_000] }));
  const index = makeIndex([one!, two!]);
  upstream.add('library/app', index, 'v1');

  await pull(mirror, 'app', 'v1', one!);
  const name = 'mirror/docker.io/library/app';
  await until('it to be there', () => target.tag(name, 'v1') !== undefined);

  assert.equal(target.tag(name, 'v1'), index.manifest.digest);
  for (const { digest } of [...one!.layers, ...two!.layers]) assert.ok(target.has(name, digest));
  assert.equal(target.refused, 0, 'nothing named what was not there yet');
  assert.equal((await verified(mirror)).isEqual, true);
});

test('a second run sends nothing; a dry run says what it would send', async () => {
  await using upstream = await startScriptedRegistry();
  await using target = await startPushTarget();
  await using mirror = await startPushing(upstream, target, { follow: false });
  const image = makeImage({ seed: 'again', layers: [90_000] });
  upstream.add('library/app', image, 'v1');
  await pull(mirror, 'app', 'v1', image);

  const dry = await runOf(mirror, '?dryRun=true');
  assert.match(JSON.stringify(dry.log), /\d+ bytes would be sent to library\/app/);
  assert.equal(target.blobBytes, 0);
  assert.equal((await verified(mirror)).isEqual, false);
  assert.equal((await runOf(mirror)).state, 'succeeded');
  const sent = target.blobBytes;
  assert.ok(sent > 90_000);
  assert.equal((await runOf(mirror)).state, 'succeeded');

  assert.equal(target.blobBytes, sent);
});

test('a layer of another repository there is mounted, and costs no bytes', async () => {
  await using upstream = await startScriptedRegistry();
  await using target = await startPushTarget();
  await using mirror = await startPushing(upstream, target, { follow: false });
  const image = makeImage({ seed: 'mounted', layers: [90_000] });
  for (const name of ['library/one', 'library/two']) upstream.add(name, image, 'v1');
  await pull(mirror, 'one', 'v1', image);
  await runOf(mirror);
  const sent = target.blobBytes;

  await pull(mirror, 'two', 'v1', image);
  await runOf(mirror);

  assert.equal(target.blobBytes, sent);
  assert.equal(target.tag('library/two', 'v1'), image.manifest.digest);
});

test('an upload that breaks off goes on where it was, and ends right', async () => {
  await using upstream = await startScriptedRegistry();
  await using target = await startPushTarget();
  await using mirror = await startPushing(upstream, target, { follow: false });
  const image = makeImage({ seed: 'broken', layers: [80 * mib] });
  upstream.add('library/app', image, 'v1');
  await pull(mirror, 'app', 'v1', image);
  target.breakAfter(50 * mib);

  const run = await runOf(mirror);

  assert.equal(run.state, 'succeeded', JSON.stringify(run.errors));
  assert.equal(target.refused, 0);
  assert.ok(target.has('library/app', image.layers[0]!.digest));
  assert.ok(target.blobBytes < 84 * mib, `${target.blobBytes} bytes`);
});

test('of some platforms, an index of them alone is sent; tags are chosen', async () => {
  await using upstream = await startScriptedRegistry();
  await using target = await startPushTarget();
  await using mirror = await startPushing(upstream, target, {
    follow: false,
    platforms: ['linux/arm64'],
    tags: { include: ['v*'] },
  });
  const amd = makeImage({ seed: 'amd', layers: [30_000] });
  const arm = makeImage({ seed: 'arm', layers: [30_000], platform: 'linux/arm64' });
  const index = makeIndex([amd, arm]);
  for (const tag of ['v1', 'edge']) {
    upstream.add('library/app', index, tag);
    await pull(mirror, 'app', tag, arm);
  }

  assert.equal((await runOf(mirror)).state, 'succeeded');

  assert.equal(target.tag('library/app', 'edge'), undefined);
  const digest = target.tag('library/app', 'v1') ?? '';
  assert.notEqual(digest, index.manifest.digest);
  const sent = JSON.parse(String(target.manifest('library/app', digest))) as {
    manifests: { digest: string }[];
  };
  assert.deepEqual(
    sent.manifests.map((one) => one.digest),
    [arm.manifest.digest],
  );
  assert.equal(target.has('library/app', amd.layers[0]!.digest), false);
  assert.equal((await verified(mirror)).isEqual, true);
});

test('a target that refuses us is said, and what failed is tried again', async () => {
  await using upstream = await startScriptedRegistry();
  await using target = await startPushTarget({ token: 'for-a-login' });
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'password');
  await writeFile(file, 'hunter2-is-a-secret');
  await using mirror = await startPushing(upstream, target, {
    follow: false,
    username: 'me',
    password: { file },
  });
  const image = makeImage({ seed: 'refused', layers: [30_000] });
  upstream.add('library/app', image, 'v1');
  await pull(mirror, 'app', 'v1', image);
  await target[Symbol.asyncDispose]();

  const run = await runOf(mirror);
  const answer = await fetch(`${mirror.adminUrl}/api/v1/sync`);
  const text = await answer.text();

  assert.equal(run.state, 'failed');
  assert.match(JSON.stringify(run.errors), /library\/app:v1.*cannot be reached/);
  assert.match(text, /"undelivered":\[\{"repository":"docker.io\/library\/app","tag":"v1"/);
  assert.ok(!text.includes('hunter2') && !JSON.stringify(mirror.events).includes('hunter2'));
});

test('a rule that cannot be run now because too many runs wait is not said to be missing', async () => {
  const held = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [{ do: { holdUntil: held.promise } }],
  });
  await using target = await startPushTarget();
  await using mirror = await startPushing(upstream, target);
  const post = (path: string, body?: unknown): Promise<Response> =>
    fetch(`${mirror.adminUrl}/api/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  // One runs, a hundred wait.
  for (let at = 0; at <= 100; at += 1) {
    assert.equal((await post('prewarm', { images: ['app:1'] })).status, 202);
  }

  const refused = await post('sync/edge');

  assert.equal(refused.status, 503);
  assert.match(await refused.text(), /Too many runs wait already/);
  held.resolve();
});

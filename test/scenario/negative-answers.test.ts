import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage, makeIndex } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'negative', layers: [20_000] });

async function allCommitted(mirror: TestMirror): Promise<void> {
  for (const { digest } of [image.config, ...image.layers]) {
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }
}

test('what upstream does not have is asked for once in a while, by HEAD and GET, tag and blob', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const tagUrl = `${mirror.url}/v2/library/app/manifests/sha256-${'a'.repeat(64)}.sig`;
  const blobUrl = `${mirror.url}/v2/library/app/blobs/${makeBlob('nowhere', 10).digest}`;

  const answers = [];
  for (const url of [tagUrl, blobUrl]) {
    for (let times = 0; times < 5; times += 1) {
      answers.push(await get(url), await get(url, { method: 'HEAD' }));
    }
  }

  assert.ok(answers.every(({ status }) => status === 404));
  assert.equal(upstream.count({ kind: 'manifest' }), 1);
  assert.equal(upstream.count({ kind: 'blob' }), 1);
});

test('what upstream has at last is found when the negative answer is old', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { negativeTtl: '200ms' } });
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const before = await get(url);
  upstream.add('library/app', image, '1');
  const soon = await get(url);
  await sleep(250);
  const later = await get(url);

  assert.deepEqual([before.status, soon.status, later.status], [404, 404, 200]);
});

test('a digest that a cached manifest names is asked for each time', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  const index = makeIndex([image]);
  upstream.add('library/app', index, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  const url = `${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`;
  upstream.script({ when: { reference: image.manifest.digest }, times: 1, do: { status: 404 } });

  const missing = await get(url);
  const found = await get(url);

  assert.equal(missing.status, 404);
  assert.equal(found.digest, image.manifest.digest);
});

test('a digest that was not there is asked for again once a manifest names it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  const url = `${mirror.url}/v2/library/app/blobs/${image.config.digest}`;
  const before = await get(url);
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);

  const after = await get(url);

  assert.equal(before.status, 404);
  assert.equal(after.digest, image.config.digest);
});

test('errors that are no plain «no» are not remembered', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  upstream.script({ when: { kind: 'manifest' }, times: 2, do: { status: 500 } });
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const failed = await get(url);
  const right = await get(url);

  assert.equal(failed.status, 503);
  assert.equal(right.digest, image.manifest.digest);
});

test('a tag that is gone is served when the upstream says so, and forgotten for good by onGone: deny', async () => {
  await using upstream = await startScriptedRegistry();
  await using other = await startScriptedRegistry();
  const settings = { tagTtl: '0', negativeTtl: '0' };
  await using mirror = await startMirror({
    upstream,
    settings: { ...settings, onGone: 'warn' },
    config: { upstreams: { 'other.test': { ...settings, urls: [other.url], onGone: 'deny' } } },
  });
  for (const registry of [upstream, other]) registry.add('team/app', image, '1');
  const kept = `${mirror.url}/v2/team/app/manifests/1`;
  const denied = `${mirror.url}/v2/other.test/team/app/manifests/1`;
  for (const url of [kept, denied]) await get(url);
  await allCommitted(mirror);
  for (const registry of [upstream, other]) registry.remove('team/app', '1');

  const warned = await get(kept);
  const gone = await get(denied);
  await other.stop();
  const down = await get(denied);

  assert.equal(warned.status, 200);
  assert.match(String(warned.headers['warning']), /^299 - /);
  assert.equal(mirror.observedOf('served-stale').length, 1);
  assert.equal(gone.status, 404);
  assert.equal(down.status, 503);
});

test('a tag is not gone when upstream lacks what it names now', async () => {
  await using upstream = await startScriptedRegistry();
  const settings = { tagTtl: '0', negativeTtl: '0', onGone: 'deny' };
  await using mirror = await startMirror({ upstream, settings });
  const next = makeImage({ seed: 'negative, next', layers: [10_000] });
  const url = `${mirror.url}/v2/library/app/manifests/1`;
  upstream.add('library/app', image, '1');
  await get(url);
  await allCommitted(mirror);
  upstream.add('library/app', next, '1');
  upstream.script({ when: { reference: next.manifest.digest }, times: 2, do: { status: 404 } });

  const answers = [await get(url), await get(url), await get(url)];

  assert.deepEqual(
    answers.map(({ headers }) => headers['x-cache']),
    ['STALE', 'STALE', 'MISS'],
  );
  assert.match(String(answers[0]?.headers['warning']), /does not have/);
  assert.equal(answers[2]?.digest, next.manifest.digest);
});

test('what one login was refused is asked anew each time, and with another one at once', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'password');
  await writeFile(file, 'wrong');
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'basic', username: 'me', password: 'right' },
  });
  const settings = { username: 'me', password: { file } };
  await using mirror = await startMirror({ upstream, settings });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const refused = await get(url);
  const asked = upstream.count();
  const again = await get(url);
  const askedAgain = upstream.count();
  await writeFile(file, 'right');
  const allowed = await get(url);

  assert.deepEqual([refused.status, again.status], [403, 403]);
  assert.ok(askedAgain > asked);
  assert.equal(allowed.digest, image.manifest.digest);
});

test('a tag that upstream no longer shows us is served only by onDenied: serve', async () => {
  await using upstream = await startScriptedRegistry();
  const settings = { tagTtl: '0', onDenied: 'serve' };
  await using mirror = await startMirror({ upstream, settings });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/1`;
  await get(url);
  await allCommitted(mirror);
  upstream.script({ when: { kind: 'manifest' }, do: { status: 403 } });

  const served = await get(url);

  assert.equal(served.headers['x-cache'], 'STALE');
  assert.match(String(served.headers['warning']), /denies/);
});

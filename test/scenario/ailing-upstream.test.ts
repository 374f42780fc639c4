import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Fault, Rule } from '../kit/faults.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'ailing', layers: [20_000] });
const blobs = Array.from({ length: 8 }, (_, at) => makeBlob(`healthy-${at}`, 2_000));

const lost: [name: string, fault: Fault][] = [
  ['a connection that is cut', { hangUp: true }],
  ...[500, 502, 503, 504].map((status): [string, Fault] => [`a ${status}`, { status }]),
];

for (const [name, fault] of lost) {
  test(`${name} once, among healthy answers, is not seen by any client`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
    upstream.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app`;
    const questions = [
      ['HEAD', `${url}/manifests/1`],
      ['GET', `${url}/manifests/${image.manifest.digest}`],
      ['GET', `${url}/tags/list`],
      ['HEAD', `${url}/blobs/${makeBlob('none', 5).digest}`],
    ] as const;

    const answers = [];
    for (const [method, path] of questions) {
      upstream.clearScript();
      upstream.script({ times: 1, do: fault });
      answers.push((await get(path, { method })).status);
    }

    assert.deepEqual(answers, [200, 200, 200, 404]);
    assert.equal(upstream.count(), 2 * questions.length);
  });
}

test('an answer that breaks off once in the middle is not seen by any client', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  upstream.add('library/app', image, '1');
  const paths = ['manifests/1', 'tags/list', `referrers/${image.manifest.digest}`];

  const answers = [];
  for (const path of paths) {
    upstream.clearScript();
    upstream.script({ times: 1, do: { resetAfterBytes: 20 } });
    answers.push((await get(`${mirror.url}/v2/library/app/${path}`)).status);
  }

  assert.deepEqual(answers, [200, 200, 200]);
  assert.equal(upstream.count(), 2 * paths.length);
});

test('where the answers of one URL break off in the middle, the next URL is asked', async () => {
  await using breaking = await startScriptedRegistry({
    rules: [{ when: { kind: 'manifest' }, do: { resetAfterBytes: 20 } }],
  });
  await using upstream = await startScriptedRegistry();
  for (const registry of [breaking, upstream]) registry.add('library/app', image, '1');
  const settings = { urls: [breaking.url, upstream.url], readAhead: false };
  await using mirror = await startMirror({ upstream, settings });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.digest, image.manifest.digest);
  assert.equal(breaking.count(), 1);
});

test('a token that was lost once is fetched once more', async () => {
  await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  upstream.script({ when: { kind: 'token' }, times: 1, do: { hangUp: true } });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.digest, image.manifest.digest);
  assert.equal(upstream.count({ kind: 'token' }), 2);
});

test('what upstream says to come back for later is not asked for twice', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.script({ do: { status: 503, headers: { 'retry-after': '5' } } });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.status, 503);
  assert.equal(upstream.count(), 1);
});

test('one broken tag that is asked for all the time shuts off nothing else', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  upstream.add('library/app', image, '1');
  for (const blob of blobs) upstream.addBlob('library/good', blob);
  upstream.script({ when: { repository: 'library/bad' }, do: { status: 500 } });
  await get(`${mirror.url}/v2/library/app/manifests/1`);

  const healthy = [];
  for (const { digest } of blobs) {
    for (let times = 0; times < 6; times += 1) await get(`${mirror.url}/v2/bad/manifests/latest`);
    healthy.push((await get(`${mirror.url}/v2/good/blobs/${digest}`)).status);
  }
  const fresh = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.deepEqual(new Set(healthy), new Set([200]));
  // It is incomplete here, and would be refused if upstream were thought to be away.
  assert.equal(fresh.headers['x-cache'], 'HIT');
  assert.ok(upstream.count({ repository: 'library/bad' }) < 20, 'the broken tag is left alone');
  assert.deepEqual(mirror.observedOf('breaker-changed'), []);
});

const refusals: [name: string, fault: Fault][] = [
  ['400', { status: 400 }],
  ['404', { status: 404 }],
  ['200 without a token', { status: 200, body: '{"details":"no"}' }],
];

for (const [name, fault] of refusals) {
  test(`a token server that answers ${name} for one repository refuses that one alone`, async () => {
    await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
    await using mirror = await startMirror({ upstream });
    for (const blob of blobs) upstream.addBlob('library/good', blob);
    upstream.script({
      when: { kind: 'token', reference: 'repository:library/bad:pull' },
      do: fault,
    });

    const refused = [];
    for (let times = 0; times < 8; times += 1) {
      refused.push(await get(`${mirror.url}/v2/bad/manifests/${times}`));
    }
    const healthy = await get(`${mirror.url}/v2/good/blobs/${blobs[0]!.digest}`);

    assert.equal(healthy.digest, blobs[0]!.digest);
    for (const { status, body } of refused) {
      assert.equal(status, 502);
      assert.match(body.toString(), /without a token for repository:library\/bad:pull/);
    }
    assert.deepEqual(mirror.observedOf('breaker-changed'), []);
  });
}

test('where the token server of one URL gives no token, the next URL is asked', async () => {
  await using refusing = await startScriptedRegistry({
    auth: { kind: 'bearer' },
    rules: [{ when: { kind: 'token' }, do: { status: 404 } }],
  });
  await using upstream = await startScriptedRegistry();
  const settings = { urls: [refusing.url, upstream.url] };
  await using mirror = await startMirror({ upstream, settings });
  upstream.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.digest, image.manifest.digest);
});

test('5xx for several repositories and nothing else is an outage', async () => {
  await using upstream = await startScriptedRegistry({ rules: [{ do: { status: 500 } }] });
  await using mirror = await startMirror({ upstream });

  for (let at = 0; at < 10; at += 1) await get(`${mirror.url}/v2/app-${at}/manifests/1`);

  assert.equal(mirror.observedOf('breaker-changed')[0]?.state, 'open');
  assert.ok(upstream.count() < 10, String(upstream.count()));
});

const lostHosts: [name: string, fault: Fault][] = [
  ['limits us', { status: 429, headers: { 'retry-after': '60' } }],
  ['breaks connections', { hangUp: true }],
];

for (const [name, fault] of lostHosts) {
  test(`a host of redirects that ${name} is left alone, and nothing else is`, async () => {
    await using lost = await startScriptedRegistry({ rules: [{ do: fault }] });
    await using other = await startScriptedRegistry();
    const redirect = (repository: string, host: string): Rule => ({
      when: { kind: 'blob', repository },
      do: { redirectTo: (path) => `${host}${path}` },
    });
    await using upstream = await startScriptedRegistry({
      rules: [redirect('library/lost', lost.url), redirect('library/other', other.url)],
    });
    const settings = { readAhead: false, redirectHosts: [lost.host, other.host] };
    await using mirror = await startMirror({ upstream, settings });
    upstream.add('library/app', image, '1');
    upstream.addBlob('library/own', blobs[0]!);
    other.addBlob('library/other', blobs[1]!);
    const url = `${mirror.url}/v2/library`;
    await get(`${url}/app/manifests/1`);

    const failed = await Promise.all(
      blobs.map(async ({ digest }) => (await get(`${url}/lost/blobs/${digest}`)).status),
    );
    const own = await get(`${url}/own/blobs/${blobs[0]!.digest}`);
    const elsewhere = await get(`${url}/other/blobs/${blobs[1]!.digest}`);
    const cached = await get(`${url}/app/manifests/1`);
    const asked = lost.count();
    await get(`${url}/lost/blobs/${makeBlob('one more', 5).digest}`);

    assert.deepEqual(new Set(failed), new Set([404]));
    assert.equal(own.digest, blobs[0]!.digest);
    assert.equal(elsewhere.digest, blobs[1]!.digest);
    assert.equal(cached.headers['x-cache'], 'HIT');
    assert.deepEqual(mirror.app.mirror.upstreams()[0]?.pauses, []);
    // A probe for each attempt of one fill, when the pause is over.
    assert.ok(lost.count() - asked <= 3, 'it is left alone');
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Fault } from '../kit/faults.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

/** Refusals that are no registry's: of a gateway that lost its registry, a proxy, a firewall. */

const image = makeImage({ seed: 'other words', layers: [20_000] });

/** Without the header that says that a registry has answered. */
function answering(status: number, type: string, body: string): Fault {
  const headers = type === '' ? {} : { 'content-type': type };
  return { status, body, headers, dropHeaders: ['docker-distribution-api-version'] };
}

const page = 'text/html; charset=utf-8';
const ownError = '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}';

const foreign: [name: string, fault: Fault, status: number][] = [
  ['404 with a web page', answering(404, page, '<h1>default backend - 404</h1>'), 503],
  ['403 with a web page', answering(403, page, '<h1>blocked</h1>'), 503],
  ['401 with a web page', answering(401, page, '<h1>log in</h1>'), 503],
  ['401 without a challenge', answering(401, 'text/plain', 'no'), 502],
  ['404 in plain text', answering(404, 'text/plain', 'default backend - 404'), 404],
  ['404 without a body', { ...answering(404, 'text/plain', ''), noContentLength: true }, 404],
];

for (const [name, fault, status] of foreign) {
  test(`${name}: the copy is served, whatever onGone and onDenied say`, async () => {
    await using upstream = await startScriptedRegistry();
    const settings = { tagTtl: '0', onGone: 'deny', onDenied: 'deny' };
    await using mirror = await startMirror({ upstream, settings });
    upstream.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app/manifests/1`;
    await get(url);
    for (const { digest } of [image.config, ...image.layers]) {
      await mirror.observed('fill-committed', (event) => event.digest === digest);
    }
    upstream.script({ do: fault });

    const answers = [await get(url), await get(url), await get(url, { method: 'HEAD' })];

    for (const answer of answers) {
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['x-cache'], 'STALE');
      assert.equal(answer.headers['docker-content-digest'], image.manifest.digest);
    }
  });

  test(`${name}: a known list of tags is served`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
    upstream.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app/tags/list`;
    const before = await get(url);
    upstream.script({ do: fault });

    const answer = await get(url);

    assert.equal(answer.headers['x-cache'], 'STALE');
    assert.deepEqual(answer.body, before.body);
  });

  test(`${name}: what is not cached is found as soon as the registry is back`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
    upstream.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app`;
    const blobUrl = `${url}/blobs/${image.layers[0]!.digest}`;
    upstream.script({ do: fault });

    const manifest = await get(`${url}/manifests/1`);
    const blob = await get(blobUrl);
    upstream.clearScript();
    const manifestAfter = await get(`${url}/manifests/1`);
    const blobAfter = await get(blobUrl);

    assert.deepEqual([manifest.status, blob.status], [status, 404]);
    assert.equal(manifestAfter.digest, image.manifest.digest);
    assert.equal(blobAfter.digest, image.layers[0]!.digest);
  });
}

const own: [name: string, fault: Fault][] = [
  ['JSON', answering(404, 'application/json; charset=utf-8', ownError)],
  ['its error under another type', answering(404, 'text/plain', ownError)],
  [
    'the header of registries alone',
    { status: 404, body: '', headers: { 'docker-distribution-api-version': 'registry/2.0' } },
  ],
];

for (const [name, fault] of own) {
  test(`a registry that says 404 with ${name} is believed, for a GET and a blob`, async () => {
    await using upstream = await startScriptedRegistry({ rules: [{ do: fault }] });
    await using mirror = await startMirror({ upstream });
    const url = `${mirror.url}/v2/library/app`;

    for (let times = 0; times < 3; times += 1) {
      assert.equal((await get(`${url}/manifests/none`)).status, 404);
      assert.equal((await get(`${url}/blobs/${makeBlob('none', 5).digest}`)).status, 404);
    }

    assert.equal(upstream.count(), 2);
  });

  test(`two URLs that say 404 with ${name} are believed, for a GET and a blob`, async () => {
    await using one = await startScriptedRegistry({ rules: [{ do: fault }] });
    await using two = await startScriptedRegistry({ rules: [{ do: fault }] });
    const settings = { urls: [one.url, two.url] };
    await using mirror = await startMirror({ upstream: one, settings });
    const url = `${mirror.url}/v2/library/app`;

    for (let times = 0; times < 3; times += 1) {
      assert.equal((await get(`${url}/manifests/none`)).status, 404);
      assert.equal((await get(`${url}/blobs/${makeBlob('none', 5).digest}`)).status, 404);
    }

    assert.deepEqual([one.count(), two.count()], [2, 2]);
  });
}

const headsOfRegistries: [name: string, fault: Fault][] = [
  ['JSON', answering(404, 'application/json', ownError)],
  ['no type', answering(404, '', '')],
  ['a type and no body', answering(404, page, '')],
];

for (const [name, fault] of headsOfRegistries) {
  test(`a HEAD that is answered 404 with ${name} is believed, and costs one request`, async () => {
    await using upstream = await startScriptedRegistry({ rules: [{ do: fault }] });
    await using mirror = await startMirror({ upstream });
    const url = `${mirror.url}/v2/library/app/manifests/none`;

    const answers = [await get(url, { method: 'HEAD' }), await get(url, { method: 'HEAD' })];

    assert.deepEqual(
      answers.map(({ status }) => status),
      [404, 404],
    );
    assert.equal(upstream.count(), 1);
  });
}

test('what one URL refuses without a challenge, as registries do, and the other lacks, is denied', async () => {
  const denied = answering(401, 'application/json', '{"errors":[{"code":"UNAUTHORIZED"}]}');
  await using refusing = await startScriptedRegistry({ rules: [{ do: denied }] });
  await using other = await startScriptedRegistry();
  const settings = { urls: [refusing.url, other.url] };
  await using mirror = await startMirror({ upstream: refusing, settings });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.status, 403);
});

test('a web page with 404 costs a HEAD no GET', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ do: answering(404, page, '<h1>default backend - 404</h1>') }],
  });
  await using mirror = await startMirror({ upstream });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`, { method: 'HEAD' });

  assert.equal(answer.status, 503);
  assert.deepEqual(
    upstream.requests.map(({ method }) => method),
    ['HEAD'],
  );
});

test('a web page of one URL with 404 is no word of the registry: the other URL may not have it', async () => {
  await using lost = await startScriptedRegistry({
    rules: [{ do: answering(404, page, '<h1>default backend - 404</h1>') }],
  });
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream,
    settings: { urls: [upstream.url, lost.url], negativeTtl: '1h' },
  });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.status, 503);
  assert.match(answer.body.toString(), /web page/);
});

test('a token server behind a page of a firewall is away: the copy is served', async () => {
  await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/1`;
  await get(url);
  for (const { digest } of [image.config, ...image.layers]) {
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }
  upstream.revokeTokens();
  upstream.script({ when: { kind: 'token' }, do: answering(403, page, '<h1>blocked</h1>') });

  const answer = await get(url);

  assert.equal(answer.headers['x-cache'], 'STALE');
  assert.equal(answer.digest, image.manifest.digest);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage, makeIndex } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'one', layers: [20_000, 30_000] });
const other = makeImage({ seed: 'other', layers: [10_000], docker: true });

async function pullLayers(mirror: TestMirror, of: typeof image): Promise<void> {
  for (const { digest } of [of.config, ...of.layers]) {
    const answer = await get(`${mirror.url}/v2/library/app/blobs/${digest}`);
    assert.equal(answer.digest, digest);
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }
}

test('a manifest is answered with its exact bytes, type, length and digest, by GET and HEAD', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', other, '1');

  const got = await get(`${mirror.url}/v2/app/manifests/1`);
  const head = await get(`${mirror.url}/v2/app/manifests/1`, { method: 'HEAD' });
  const byDigest = await get(`${mirror.url}/v2/library/app/manifests/${other.manifest.digest}`);

  for (const answer of [got, head, byDigest]) {
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], other.manifest.mediaType);
    assert.equal(answer.headers['content-length'], String(other.manifest.bytes.length));
    assert.equal(answer.headers['docker-content-digest'], other.manifest.digest);
    assert.equal(answer.headers.etag, `"${other.manifest.digest}"`);
    assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0');
  }
  assert.equal(got.digest, other.manifest.digest);
  assert.equal(byDigest.digest, other.manifest.digest);
  assert.equal(head.bodyBytes, 0);
  assert.equal(upstream.count({ kind: 'manifest', method: 'GET' }), 1);
});

test('a HEAD by tag costs upstream a HEAD and no pull', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const head = await get(`${mirror.url}/v2/library/app/manifests/1`, { method: 'HEAD' });

  assert.equal(head.headers['docker-content-digest'], image.manifest.digest);
  assert.equal(upstream.count({ kind: 'manifest', method: 'HEAD' }), 1);
  assert.equal(upstream.count({ kind: 'manifest', method: 'GET' }), 0);
});

test('a tag whose manifest is gone since a HEAD named it is asked for itself', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '1h' } });
  const url = `${mirror.url}/v2/library/app/manifests/1`;
  upstream.add('library/app', image, '1');
  await get(url, { method: 'HEAD' });
  upstream.remove('library/app', image.manifest.digest);
  upstream.add('library/app', other, '1');

  const answers = await Promise.all([get(url), get(url)]);
  const head = await get(url, { method: 'HEAD' });

  for (const answer of answers) {
    assert.equal(answer.status, 200);
    assert.equal(answer.digest, other.manifest.digest);
    assert.equal(answer.headers['docker-content-digest'], other.manifest.digest);
    assert.notEqual(answer.headers['x-cache'], 'HIT');
  }
  assert.equal(head.headers['docker-content-digest'], other.manifest.digest);
  const pulls = upstream.matching({ kind: 'manifest', method: 'GET' });
  assert.equal(pulls.filter(({ status }) => status === 200).length, 1);
});

test('clients that ask for one tag together share one upstream request', async () => {
  const answers = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'manifest' }, do: { holdUntil: answers.promise } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const asking = Array.from({ length: 50 }, () => get(`${mirror.url}/v2/library/app/manifests/1`));
  await upstream.arrived({ kind: 'manifest' });
  answers.resolve();
  const got = await Promise.all(asking);

  assert.ok(got.every(({ digest }) => digest === image.manifest.digest));
  assert.equal(upstream.count({ kind: 'manifest' }), 1);
});

test('a tag within its life is served without asking; afterwards one HEAD confirms it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '200ms' } });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const cold = await get(url);
  const fresh = await get(url);
  const asked = upstream.count({ kind: 'manifest' });
  await new Promise((resolve) => setTimeout(resolve, 250));
  const old = await get(url);

  assert.equal(cold.headers['x-cache'], 'MISS');
  assert.equal(fresh.headers['x-cache'], 'HIT');
  assert.equal(asked, 1);
  assert.equal(old.headers['x-cache'], 'REVALIDATED');
  assert.equal(upstream.count({ kind: 'manifest', method: 'HEAD' }), 1);
  assert.equal(upstream.count({ kind: 'manifest', method: 'GET' }), 1);
});

test('a tag that moved is fetched by its new digest', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  upstream.add('library/app', image, 'latest');
  const url = `${mirror.url}/v2/library/app/manifests/latest`;

  const before = await get(url);
  upstream.add('library/app', other, 'latest');
  const after = await get(url);

  assert.equal(before.digest, image.manifest.digest);
  assert.equal(after.digest, other.manifest.digest);
  assert.equal(after.headers['docker-content-digest'], other.manifest.digest);
});

test('while upstream is down a pulled image stays pullable, marked stale', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  await pullLayers(mirror, image);

  await upstream.stop();
  const stale = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const head = await get(`${mirror.url}/v2/library/app/manifests/1`, { method: 'HEAD' });
  const layer = await get(`${mirror.url}/v2/library/app/blobs/${image.layers[0]!.digest}`);
  const ping = await get(`${mirror.url}/v2/`);

  assert.equal(stale.digest, image.manifest.digest);
  assert.equal(stale.headers['x-cache'], 'STALE');
  assert.match(String(stale.headers['warning']), /^299 - ".*served from the cache/);
  assert.match(String(stale.headers['age']), /^\d+$/);
  assert.equal(head.headers['x-cache'], 'STALE');
  assert.equal(layer.headers['x-cache'], 'HIT');
  assert.equal(ping.status, 200);
});

test('after a restart with upstream down everything pulled is still there', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', makeIndex([image]), '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  await get(`${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`);
  await pullLayers(mirror, image);

  await upstream.stop();
  await mirror.restart();
  const index = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const manifest = await get(`${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`);
  const layer = await get(`${mirror.url}/v2/library/app/blobs/${image.layers[1]!.digest}`);

  assert.equal(index.headers['x-cache'], 'STALE');
  assert.equal(manifest.digest, image.manifest.digest);
  assert.equal(layer.digest, image.layers[1]!.digest);
});

test('a stale manifest whose layers are not all here is refused, so clients go on at once', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0', readAhead: false } });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);

  await upstream.stop();
  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.status, 503);
});

test('a revalidation that hangs costs its short budget once, and the next request nothing', async () => {
  const never = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream,
    settings: { tagTtl: '0', timeouts: { revalidate: '1s' } },
  });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/1`;
  await get(url);
  await pullLayers(mirror, image);
  upstream.script({ do: { holdUntil: never.promise } });

  const first = await get(url);
  const second = await get(url);
  never.resolve();

  assert.equal(first.headers['x-cache'], 'STALE');
  assert.ok(first.totalMs < 4000, `${first.totalMs} ms`);
  assert.equal(second.headers['x-cache'], 'STALE');
  assert.ok(second.totalMs < 200, `${second.totalMs} ms`);
});

test('a tag that upstream now denies is not served stale; one that is gone is, by default', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  upstream.add('library/app', image, 'denied');
  upstream.add('library/app', image, 'gone');
  await get(`${mirror.url}/v2/library/app/manifests/denied`);
  await get(`${mirror.url}/v2/library/app/manifests/gone`);
  await pullLayers(mirror, image);
  upstream.script({ when: { reference: 'denied' }, do: { status: 403 } });
  upstream.remove('library/app', 'gone');

  const denied = await get(`${mirror.url}/v2/library/app/manifests/denied`);
  const gone = await get(`${mirror.url}/v2/library/app/manifests/gone`);

  assert.equal(denied.status, 403);
  assert.equal(gone.status, 200);
  assert.equal(gone.headers['x-cache'], 'STALE');
});

test('serving an image manifest fetches its blobs before they are asked for; an index does not', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', makeIndex([image, other]), '1');

  await get(`${mirror.url}/v2/library/app/manifests/1`);
  const afterIndex = upstream.count({ kind: 'blob' });
  await get(`${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`);
  for (const { digest } of [image.config, ...image.layers]) {
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }

  assert.equal(afterIndex, 0);
  assert.equal(upstream.count({ kind: 'blob' }), 3);
});

test('a manifest that is not what was asked for is refused and not kept', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'manifest' }, times: 1, do: { flipByteAt: 30 } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`;

  const wrong = await get(url);
  const right = await get(url);

  assert.equal(wrong.status, 502);
  assert.equal(right.digest, image.manifest.digest);
});

test('a web page with status 200 is neither a manifest nor a blob', async () => {
  const page = {
    status: 200,
    headers: { 'content-type': 'text/html' },
    body: '<html>login</html>',
  };
  await using upstream = await startScriptedRegistry({ rules: [{ do: page }] });
  await using mirror = await startMirror({ upstream });

  const manifest = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const blob = await get(`${mirror.url}/v2/library/app/blobs/${makeBlob('x', 10).digest}`);

  assert.equal(manifest.status, 502);
  assert.equal(blob.status, 404);
  assert.match(blob.body.toString(), /web page/);
});

test('a blob is not given out through a repository that does not have it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const secret = makeBlob('secret', 5_000);
  upstream.addBlob('team/private', secret);
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/team/private/blobs/${secret.digest}`);
  await mirror.observed('fill-committed');

  const got = await get(`${mirror.url}/v2/library/app/blobs/${secret.digest}`);
  const head = await get(`${mirror.url}/v2/library/app/blobs/${secret.digest}`, { method: 'HEAD' });

  assert.equal(got.status, 404);
  assert.equal(head.status, 404);
});

test('one file serves two repositories once upstream confirmed the second', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const shared = makeBlob('shared', 2_000_000);
  upstream.addBlob('team/a', shared);
  upstream.addBlob('team/b', shared);
  await get(`${mirror.url}/v2/team/a/blobs/${shared.digest}`);
  await mirror.observed('fill-committed');

  const second = await get(`${mirror.url}/v2/team/b/blobs/${shared.digest}`);

  assert.equal(second.headers['x-cache'], 'HIT');
  assert.equal(second.digest, shared.digest);
  assert.equal(upstream.count({ kind: 'blob', method: 'GET' }), 1);
});

test('a token is fetched once, used for what follows, and asked with the scope of the repository', async () => {
  await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } as never });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);
  await pullLayers(mirror, image);

  assert.equal(answer.digest, image.manifest.digest);
  assert.equal(upstream.count({ kind: 'token' }), 1);
});

test('upstream cannot be reached and nothing is here: manifests 503, blobs 404 with the reason', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  await upstream.stop();

  const manifest = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const blob = await get(`${mirror.url}/v2/library/app/blobs/${makeBlob('y', 10).digest}`);

  assert.equal(manifest.status, 503);
  assert.equal(blob.status, 404);
  const { errors } = JSON.parse(blob.body.toString()) as {
    errors: { code: string; message: string }[];
  };
  assert.equal(errors[0]?.code, 'BLOB_UNKNOWN');
  assert.match(errors[0]?.message ?? '', /cannot be reached|did not answer/);
});

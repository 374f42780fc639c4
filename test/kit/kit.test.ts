import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { get } from './clients.ts';
import { descriptorOf, makeBlob, makeImage, makeIndex, sha256 } from './images.ts';
import { startScriptedRegistry } from './scripted-registry.ts';

const MiB = 1024 * 1024;

test('one seed gives one image, and its layers are the tars that its config names', () => {
  const image = makeImage({ seed: 7, layers: [1000, 70_000] });
  const again = makeImage({ seed: 7, layers: [1000, 70_000] });
  const other = makeImage({ seed: 8, layers: [1000, 70_000] });

  assert.equal(image.manifest.digest, again.manifest.digest);
  assert.notEqual(image.manifest.digest, other.manifest.digest);
  assert.deepEqual(
    image.layers.map((layer) => sha256(gunzipSync(layer.bytes))),
    image.diffIds,
  );
});

test('an image is served by tag and by digest, its blobs whole and in ranges, and all is recorded', async () => {
  await using registry = await startScriptedRegistry();
  const index = makeIndex([
    makeImage({ seed: 1, layers: [3 * MiB] }),
    makeImage({ seed: 2, layers: [10], platform: 'linux/arm64/v8' }),
  ]);
  const layer = index.images[0]!.layers[0]!;
  registry.add('library/app', index, 'latest');
  const base = `${registry.url}/v2/library/app`;

  const head = await get(`${base}/manifests/latest`, { method: 'HEAD' });
  const child = await get(`${base}/manifests/${index.images[1]!.manifest.digest}`);
  const whole = await get(`${base}/blobs/${layer.digest}`);
  const part = await get(`${base}/blobs/${layer.digest}`, { headers: { range: 'bytes=10-19' } });
  const tail = await get(`${base}/blobs/${layer.digest}`, { headers: { range: 'bytes=-5' } });
  const beyond = await get(`${base}/blobs/${layer.digest}`, {
    headers: { range: 'bytes=99999999-' },
  });
  const missing = await get(`${base}/blobs/${makeBlob('no', 1).digest}`);

  assert.equal(head.headers['docker-content-digest'], index.manifest.digest);
  assert.equal(head.headers['content-length'], String(index.manifest.bytes.length));
  assert.equal(child.digest, index.images[1]!.manifest.digest);
  assert.deepEqual([whole.status, whole.digest, whole.complete], [200, layer.digest, true]);
  assert.deepEqual([part.status, part.body], [206, layer.bytes.subarray(10, 20)]);
  assert.deepEqual([tail.status, tail.body], [206, layer.bytes.subarray(-5)]);
  assert.deepEqual([beyond.status, missing.status], [416, 404]);
  assert.equal(registry.count({ kind: 'blob', reference: layer.digest }), 4);
  assert.equal(registry.count({ kind: 'blob', ranged: true }), 3);
  assert.equal(registry.bytesSent(layer.digest), layer.bytes.length + 15);
});

test('a script truncates, resets, flips, stalls and slows down as told', async () => {
  const blob = makeBlob('script', MiB);
  const release = Promise.withResolvers<void>();
  await using registry = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob' }, times: 1, do: { truncateAfterBytes: 300_000 } },
      { when: { kind: 'blob' }, times: 1, do: { resetAfterBytes: 300_000 } },
      { when: { kind: 'blob' }, times: 1, do: { flipByteAt: 1000 } },
      { when: { kind: 'blob' }, times: 1, do: { noContentLength: true, ignoreRange: true } },
      { when: { kind: 'blob' }, times: 1, do: { rateBytesPerSecond: 4 * MiB } },
      { when: { kind: 'blob' }, times: 1, do: { status: 503, headers: { 'retry-after': '7' } } },
      {
        when: { kind: 'blob' },
        times: 1,
        do: { stall: { afterBytes: 500, until: release.promise } },
      },
    ],
  });
  registry.addBlob('app', blob);
  const url = `${registry.url}/v2/app/blobs/${blob.digest}`;

  const truncated = await get(url);
  const reset = await get(url);
  const flipped = await get(url);
  const chunked = await get(url, { headers: { range: 'bytes=5-' } });
  const paced = await get(url);
  const refused = await get(url);
  const stopped = await get(url, { stopAfterBytes: 500 });
  release.resolve();
  const whole = await get(url);

  assert.deepEqual([truncated.cutWith, truncated.bodyBytes], ['FIN', 300_000]);
  assert.equal(registry.requests[0]!.bodyBytesSent, 300_000);
  assert.deepEqual([reset.complete, reset.cutWith], [false, 'RST']);
  assert.deepEqual([flipped.complete, flipped.digest === blob.digest], [true, false]);
  assert.equal(chunked.headers['content-length'], undefined);
  assert.deepEqual([chunked.status, chunked.digest], [200, blob.digest]);
  assert.ok(paced.totalMs > 200, `1 MiB at 4 MiB/s took ${paced.totalMs} ms`);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '7']);
  assert.deepEqual([stopped.bodyBytes, stopped.cutWith], [500, undefined]);
  assert.equal(whole.digest, blob.digest);
});

test('a stopped registry refuses, and answers again on the same port', async () => {
  await using registry = await startScriptedRegistry();

  await registry.stop();
  const refused = await get(`${registry.url}/v2/`);
  await registry.restart();
  const answered = await get(`${registry.url}/v2/`);

  assert.deepEqual([refused.status, answered.status], [0, 200]);
});

test('a bearer token is asked for, scoped to its repository, and lost when revoked', async () => {
  await using registry = await startScriptedRegistry({
    auth: { kind: 'bearer', username: 'me', password: 'secret' },
    rules: [{ when: { kind: 'manifest' }, times: 1, do: { status: 500 } }],
  });
  registry.add('app', makeImage({ seed: 1, layers: [] }), 'v1');
  const url = `${registry.url}/v2/app/manifests/v1`;
  const basic = `Basic ${Buffer.from('me:secret').toString('base64')}`;
  const tokenFor = async (scope: string): Promise<string> => {
    const answer = await get(`${registry.url}/token?service=scripted&scope=${scope}`, {
      headers: { authorization: basic },
    });
    return (JSON.parse(answer.body.toString()) as { token: string }).token;
  };
  const askWith = async (token: string): Promise<number> =>
    (await get(url, { headers: { authorization: `Bearer ${token}` } })).status;

  const challenged = await get(url);
  const anonymous = await get(`${registry.url}/token?service=scripted&scope=repository:app:pull`);
  const token = await tokenFor('repository:app:pull');
  const wrongScope = await askWith(await tokenFor('repository:other:pull'));
  const scripted = await askWith(token);
  const good = await askWith(token);
  registry.revokeTokens();
  const revoked = await askWith(token);

  assert.match(
    challenged.headers['www-authenticate'] ?? '',
    /^Bearer realm="http.*\/token",service="scripted",scope="repository:app:pull"$/,
  );
  assert.deepEqual(
    [anonymous.status, wrongScope, scripted, good, revoked],
    [401, 401, 500, 200, 401],
  );
});

test('tags come in pages, referrers by subject and type', async () => {
  await using registry = await startScriptedRegistry();
  const image = makeImage({ seed: 1, layers: [10] });
  for (const tag of ['c', 'a', 'b']) registry.add('app', image, tag);
  const subject = descriptorOf(image.manifest);
  for (const artifactType of ['application/x-one', 'application/x-two']) {
    registry.add('app', makeImage({ seed: artifactType, layers: [], subject, artifactType }));
  }

  const page = await get(`${registry.url}/v2/app/tags/list?n=2`);
  const rest = await get(`${registry.url}/v2/app/tags/list?n=2&last=b`);
  const all = await get(`${registry.url}/v2/app/referrers/${subject.digest}`);
  const one = await get(
    `${registry.url}/v2/app/referrers/${subject.digest}?artifactType=application/x-one`,
  );

  assert.equal(page.headers['link'], '</v2/app/tags/list?n=2&last=b>; rel="next"');
  assert.deepEqual(JSON.parse(page.body.toString()), { name: 'app', tags: ['a', 'b'] });
  assert.deepEqual(JSON.parse(rest.body.toString()), { name: 'app', tags: ['c'] });
  assert.deepEqual([lengthOf(all.body), lengthOf(one.body)], [2, 1]);
});

function lengthOf(index: Buffer): number {
  return (JSON.parse(index.toString()) as { manifests: unknown[] }).manifests.length;
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage, sha256 } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

const blob = makeBlob('asked by HEAD', 54_321);
const path = `/v2/library/app/blobs/${blob.digest}`;

for (const status of [400, 403, 404, 405, 411]) {
  test(`a CDN answers HEAD with ${status} and GET right: so do we, at the cost of a GET`, async () => {
    await using cdn = await startScriptedRegistry({
      rules: [{ when: { method: 'HEAD' }, do: { status } }],
    });
    await using upstream = await startScriptedRegistry({
      rules: [{ when: { kind: 'blob' }, do: { redirectTo: (asked) => `${cdn.url}${asked}` } }],
    });
    await using mirror = await startMirror({ upstream, settings: { redirectHosts: [cdn.host] } });
    cdn.addBlob('library/app', blob);

    const head = await get(mirror.url + path, { method: 'HEAD' });
    const asked = upstream.count() + cdn.count();
    const whole = await get(mirror.url + path);

    assert.equal(head.status, 200);
    assert.equal(head.headers['content-length'], String(blob.bytes.length));
    assert.equal(whole.digest, blob.digest);
    assert.equal(asked, 4);
    assert.ok(cdn.bytesSent(blob.digest) <= blob.bytes.length + 1);
  });
}

test('a blob that the CDN does not have is 404, and asked for once in a while', async () => {
  await using cdn = await startScriptedRegistry();
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { redirectTo: (asked) => `${cdn.url}${asked}` } }],
  });
  await using mirror = await startMirror({ upstream, settings: { redirectHosts: [cdn.host] } });

  const head = await get(mirror.url + path, { method: 'HEAD' });
  const asked = upstream.count();
  const again = await get(mirror.url + path);

  assert.deepEqual([head.status, again.status], [404, 404]);
  assert.equal(upstream.count(), asked);
});

test('Content-Length: 0 in answer to a HEAD is no size, but of the empty blob', async () => {
  const empty = { ...makeBlob('', 0), bytes: Buffer.alloc(0), digest: sha256(Buffer.alloc(0)) };
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { method: 'HEAD' }, do: { headers: { 'content-length': 0 } } }],
  });
  await using mirror = await startMirror({ upstream });
  for (const piece of [blob, empty]) upstream.addBlob('library/app', piece);

  const head = await get(mirror.url + path, { method: 'HEAD' });
  const whole = await get(mirror.url + path);
  const nothing = await get(`${mirror.url}/v2/library/app/blobs/${empty.digest}`, {
    method: 'HEAD',
  });

  assert.equal(head.headers['content-length'], String(blob.bytes.length));
  assert.equal(whole.digest, blob.digest);
  assert.deepEqual([nothing.status, nothing.headers['content-length']], [200, '0']);
  assert.equal(upstream.count({ reference: empty.digest }), 1);
});

test('the size of the empty blob is learnt from a GET where HEAD is refused', async () => {
  const empty = { ...makeBlob('', 0), bytes: Buffer.alloc(0), digest: sha256(Buffer.alloc(0)) };
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { method: 'HEAD' }, do: { status: 405 } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.addBlob('library/app', empty);

  const head = await get(`${mirror.url}/v2/library/app/blobs/${empty.digest}`, { method: 'HEAD' });

  assert.deepEqual([head.status, head.headers['content-length']], [200, '0']);
});

test('HEAD of a layer that a cached manifest names and upstream lacks is 404, as its GET is', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  const image = makeImage({ seed: 'incomplete', layers: [1_000] });
  const layer = image.layers[0]!;
  upstream.add('library/app', image, '1');
  upstream.remove('library/app', layer.digest);
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  const url = `${mirror.url}/v2/library/app/blobs/${layer.digest}`;

  const head = await get(url, { method: 'HEAD' });
  const whole = await get(url);
  upstream.addBlob('library/app', layer);
  const there = await get(url, { method: 'HEAD' });

  assert.deepEqual([head.status, whole.status], [404, 404]);
  assert.deepEqual(
    [there.status, there.headers['content-length']],
    [200, String(layer.bytes.length)],
  );
});

test('refusals that do not come to their end hold no connection for long', async () => {
  const { promise: never } = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { maxConnections: 4 } });
  upstream.addBlob('library/app', blob);
  const refused = [1, 2, 3].map((seed) => makeBlob(`refused ${seed}`, 5));
  const stall = { afterBytes: 5, until: never };
  upstream.script(
    ...refused.map(({ digest: reference }) => ({
      when: { kind: 'blob' as const, reference },
      do: { status: 403, stall },
    })),
  );
  for (const { digest } of refused) {
    await get(`${mirror.url}/v2/library/app/blobs/${digest}`, { method: 'HEAD' });
  }

  const whole = await get(mirror.url + path);

  assert.equal(whole.digest, blob.digest);
});

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { foreignCertificate, goodCertificate, testKey } from '../kit/certificates.ts';
import { get } from '../kit/clients.ts';
import { startForwardProxy } from '../kit/forward-proxy.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { startTlsFront } from '../kit/tls-front.ts';

const image = makeImage({ seed: 'connections', layers: [300_000] });
const layer = image.layers[0]!;

test('an upstream with TLS is reached through a tunnel of the proxy, which sees no request', async () => {
  await using folder = await temporaryFolder();
  const ca = join(folder.path, 'ca.pem');
  await writeFile(ca, goodCertificate);
  await using upstream = await startScriptedRegistry();
  await using front = await startTlsFront(upstream, goodCertificate);
  await using proxy = await startForwardProxy();
  await using mirror = await startMirror({
    upstream,
    settings: {
      urls: [front.url],
      proxy: `http://${proxy.host}`,
      tls: { ca },
    },
  });
  upstream.add('library/app', image, '1');

  const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
  const blob = await get(`${mirror.url}/v2/app/blobs/${layer.digest}`);

  assert.equal(manifest.status, 200);
  assert.equal(blob.digest, layer.digest);
  assert.deepEqual(new Set(proxy.asked), new Set([`CONNECT ${new URL(front.url).host}`]));
});

test('an upstream without TLS is asked for by the proxy of the environment, with its login', async () => {
  await using upstream = await startScriptedRegistry();
  await using proxy = await startForwardProxy({
    login: 'me:s3cret-of-the-proxy',
    hosts: { 'registry.test': upstream.host },
  });
  await using mirror = await startMirror({
    upstream,
    settings: { urls: ['http://registry.test'] },
    env: { HTTP_PROXY: `http://me:s3cret-of-the-proxy@${proxy.host}`, NO_PROXY: 'other.test' },
  });
  upstream.add('library/app', image, '1');

  const blob = await get(`${mirror.url}/v2/app/blobs/${layer.digest}`);
  const shown = await Promise.all(
    ['api/v1/upstreams', 'metrics'].map((path) => get(`${mirror.adminUrl}/${path}`)),
  );

  assert.equal(blob.digest, layer.digest);
  assert.deepEqual(proxy.asked, [`GET http://registry.test/v2/library/app/blobs/${layer.digest}`]);
  for (const told of [JSON.stringify(mirror.events), ...shown.map(({ body }) => String(body))]) {
    assert.equal(told.includes('s3cret-of-the-proxy'), false);
  }
});

test('a proxy that refuses us is an upstream that cannot be reached, and says why', async () => {
  await using folder = await temporaryFolder();
  const ca = join(folder.path, 'ca.pem');
  await writeFile(ca, goodCertificate);
  await using upstream = await startScriptedRegistry();
  await using front = await startTlsFront(upstream, goodCertificate);
  await using proxy = await startForwardProxy({ login: 'me:pass' });
  for (const urls of [[front.url], [upstream.url]]) {
    await using mirror = await startMirror({
      upstream,
      settings: { urls, proxy: `http://${proxy.host}`, tls: { ca } },
    });

    const answer = await get(`${mirror.url}/v2/app/manifests/1`);

    assert.equal(answer.status, 503);
    assert.match(answer.body.toString(), /407/);
  }
  assert.equal(upstream.requests.length, 0);
});

test('nothing is sent to a name of the proxy’s own network', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { redirectTo: 'http://metadata.google.internal/x' } }],
  });
  await using proxy = await startForwardProxy();
  await using mirror = await startMirror({
    upstream,
    settings: { proxy: `http://${proxy.host}` },
  });

  const answer = await get(`${mirror.url}/v2/app/blobs/${layer.digest}`);

  assert.equal(answer.status, 404);
  const refused = await mirror.observed('upstream-refused');
  assert.equal(refused.host, 'metadata.google.internal');
  assert.equal(
    proxy.asked.every((what) => what.includes(upstream.host)),
    true,
  );
});

test('our certificate is shown to the upstream, and not to the host that it redirects to', async () => {
  await using folder = await temporaryFolder();
  const [ca, key] = [join(folder.path, 'ca.pem'), join(folder.path, 'key.pem')];
  await writeFile(ca, goodCertificate);
  await writeFile(key, testKey);
  await using upstream = await startScriptedRegistry();
  await using front = await startTlsFront(upstream, goodCertificate, goodCertificate);
  await using storage = await startScriptedRegistry();
  await using storageFront = await startTlsFront(storage, goodCertificate, goodCertificate);
  await using mirror = await startMirror({
    upstream,
    settings: {
      urls: [front.url],
      redirectHosts: [new URL(storageFront.url).host],
      tls: { ca, cert: ca, key },
    },
  });
  for (const registry of [upstream, storage]) registry.add('library/app', image, '1');
  upstream.script({
    when: { kind: 'blob' },
    do: { redirectTo: (path) => `${storageFront.url}${path}` },
  });

  const blob = await get(`${mirror.url}/v2/app/blobs/${layer.digest}`);

  assert.equal(blob.digest, layer.digest);
  assert.deepEqual([front.known > 0, storageFront.connections > 0], [true, true]);
  assert.equal(storageFront.known, 0);
});

test('an authority that is replaced in its file counts from the next connection on', async () => {
  await using folder = await temporaryFolder();
  const ca = join(folder.path, 'ca.pem');
  await writeFile(ca, foreignCertificate);
  await using upstream = await startScriptedRegistry();
  await using front = await startTlsFront(upstream, goodCertificate);
  await using mirror = await startMirror({
    upstream,
    settings: { urls: [front.url], tls: { ca } },
  });
  upstream.add('library/app', image, '1');

  const before = await get(`${mirror.url}/v2/app/manifests/1`);
  await writeFile(ca, goodCertificate);
  const after = await get(`${mirror.url}/v2/app/manifests/1`);

  assert.deepEqual([before.status, after.status], [503, 200]);
});

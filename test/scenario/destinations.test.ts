import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { goodCertificate } from '../kit/certificates.ts';
import { get } from '../kit/clients.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { startTlsFront } from '../kit/tls-front.ts';

const password = 'hunter2-is-a-secret';
const image = makeImage({ seed: 'private', layers: Array<number>(20).fill(40_000) });

async function passwordFile(): Promise<AsyncDisposable & { path: string }> {
  const folder = await temporaryFolder();
  const path = join(folder.path, 'password');
  await writeFile(path, `${password}\n`);
  return { path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test('a private image through a redirect: one token for 20 layers, and no secret at the other host', async () => {
  await using secret = await passwordFile();
  await using cdn = await startScriptedRegistry();
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer', username: 'me', password },
    rules: [
      {
        when: { kind: 'blob' },
        do: { redirectTo: (path) => `${cdn.url}${path}?signature=s3cret` },
      },
    ],
  });
  await using mirror = await startMirror({
    upstream,
    settings: {
      username: 'me',
      password: { file: secret.path },
      redirectHosts: [cdn.host],
      readAhead: false,
    },
  });
  upstream.add('library/app', image, '1');
  cdn.add('library/app', image, '1');

  const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
  const tokensBefore = upstream.count({ kind: 'token' });
  const layers = await Promise.all(
    image.layers.map(({ digest }) => get(`${mirror.url}/v2/app/blobs/${digest}`)),
  );

  assert.equal(manifest.status, 200);
  assert.deepEqual(
    layers.map(({ digest }) => digest),
    image.layers.map(({ digest }) => digest),
  );
  assert.equal(upstream.count({ kind: 'token' }) - tokensBefore <= 1, true, 'tokens are shared');
  assert.equal(cdn.count({ kind: 'blob' }), 20);
  assert.deepEqual(
    cdn.requests.filter(({ headers }) => headers.authorization ?? headers.cookie).length,
    0,
  );
  const admin = ['metrics', 'api/v1/stats', 'api/v1/upstreams', 'api/v1/config', 'api/v1/blobs'];
  const shown = await Promise.all(admin.map((path) => get(`${mirror.adminUrl}/${path}`)));
  const told = JSON.stringify(mirror.events) + shown.map(({ body }) => String(body)).join('');
  const basic = Buffer.from(`me:${password}`).toString('base64');
  for (const text of [password, basic, 's3cret', 'scripted-token']) {
    assert.equal(told.includes(text), false, `${text} is told`);
  }
});

test('a signed address that is over is asked for once more at the registry', async () => {
  await using cdn = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, times: 1, do: { status: 403 } }],
  });
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { redirectTo: (path) => `${cdn.url}${path}` } }],
  });
  await using mirror = await startMirror({
    upstream,
    settings: { redirectHosts: [cdn.host], readAhead: false },
  });
  for (const registry of [upstream, cdn]) registry.add('library/app', image, '1');
  const [layer] = image.layers;

  const answer = await get(`${mirror.url}/v2/app/blobs/${layer!.digest}`);

  assert.equal(answer.digest, layer!.digest);
  assert.equal(upstream.count({ kind: 'blob' }), 2);
});

test('a signed address that ends in the middle of a blob is renewed, and the blob goes on', async () => {
  const large = makeImage({ seed: 'signed', layers: [12 * 1024 * 1024] });
  const [layer] = large.layers;
  await using cdn = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob' }, times: 1, do: { truncateAfterBytes: 5 * 1024 * 1024 } },
      { when: { kind: 'blob' }, times: 1, do: { status: 403 } },
    ],
  });
  let signatures = 0;
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer' },
    rules: [
      {
        when: { kind: 'blob' },
        do: { redirectTo: (path) => `${cdn.url}${path}?signature=${(signatures += 1)}` },
      },
    ],
  });
  await using mirror = await startMirror({
    upstream,
    settings: { redirectHosts: [cdn.host], connectionsPerBlob: 1 },
  });
  for (const registry of [upstream, cdn]) registry.add('library/app', large, '1');

  const answer = await get(`${mirror.url}/v2/app/blobs/${layer!.digest}`);

  assert.equal(answer.digest, layer!.digest);
  assert.deepEqual(
    cdn.requests.map(({ path, status }) => [path.replace(/.*=/, ''), status]),
    [
      ['1', 200],
      ['2', 403],
      ['3', 206],
    ],
  );
  assert.ok(cdn.bytesSent(layer!.digest) <= 1.05 * layer!.bytes.length);
});

test('redirects end after five, and never lead from https to http', async () => {
  let hops = 0;
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'blob' },
        do: { redirectTo: (path) => `${path.split('?')[0]}?hop=${(hops += 1)}` },
      },
    ],
  });
  await using folder = await temporaryFolder();
  const ca = join(folder.path, 'ca.pem');
  await writeFile(ca, goodCertificate);
  await using plain = await startScriptedRegistry();
  await using secure = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { redirectTo: (path) => `${plain.url}${path}` } }],
  });
  await using front = await startTlsFront(secure, goodCertificate);
  await using mirror = await startMirror({
    upstream,
    config: {
      upstreams: {
        'secure.test': { urls: [front.url], tls: { ca }, redirectHosts: [plain.host] },
      },
    },
  });
  const path = `app/blobs/${image.layers[0]!.digest}`;

  const endless = await get(`${mirror.url}/v2/${path}`);
  const downgraded = await get(`${mirror.url}/v2/secure.test/${path}`);

  assert.deepEqual([endless.status, downgraded.status], [404, 404]);
  assert.match(endless.body.toString(), /redirects more than 5 times/);
  assert.equal(upstream.count({ kind: 'blob' }), 6);
  assert.match(downgraded.body.toString(), /from https to plain http/);
  assert.equal(plain.requests.length, 0);
});

test('a wrong password: 403 with a message, never 401', async () => {
  await using secret = await passwordFile();
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer', username: 'me', password: 'another' },
  });
  await using mirror = await startMirror({
    upstream,
    settings: { username: 'me', password: { file: secret.path } },
  });
  upstream.add('library/app', image, '1');

  for (const path of ['manifests/1', `blobs/${image.layers[0]!.digest}`, 'tags/list']) {
    const answer = await get(`${mirror.url}/v2/app/${path}`);

    assert.equal(answer.status, 403, path);
    assert.equal(answer.headers['www-authenticate'], undefined);
    assert.match(answer.body.toString(), /DENIED.*check username and password/);
    assert.equal(answer.body.includes(password), false);
  }
});

test('a token whose rights were too small is replaced once after a 403', async () => {
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer' },
    rules: [{ when: { kind: 'manifest' }, times: 1, do: { status: 403 } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  await get(`${mirror.url}/v2/app/tags/list`);
  const answer = await get(`${mirror.url}/v2/app/manifests/1`);

  assert.equal(answer.status, 200);
  assert.equal(upstream.count({ kind: 'token' }), 2);
});

test('nothing is sent to the token server of a cloud’s own network', async () => {
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer', realm: 'http://169.254.169.254/latest/meta-data' },
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/app/manifests/1`);

  assert.equal(answer.status, 403);
  assert.match(answer.body.toString(), /169\.254\.169\.254.*authHosts/);
  const refused = await mirror.observed('upstream-refused');
  assert.deepEqual([refused.host, refused.what], ['169.254.169.254', 'token']);
});

test('a redirect to another port of this machine is not followed', async () => {
  await using secret = await startScriptedRegistry();
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { redirectTo: (path) => `${secret.url}${path}` } }],
  });
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  for (const registry of [upstream, secret]) registry.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);

  assert.equal(answer.status, 404);
  assert.match(answer.body.toString(), /BLOB_UNKNOWN.*redirectHosts/);
  assert.equal(secret.requests.length, 0);
  const refused = await mirror.observed('upstream-refused');
  assert.deepEqual([refused.host, refused.what], [secret.host, 'blob']);
});

test('nor is one to a name that leads to this machine', async () => {
  await using secret = await startScriptedRegistry();
  const elsewhere = secret.url.replace('127.0.0.1', 'localhost');
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { redirectTo: (path) => `${elsewhere}${path}` } }],
  });
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  for (const registry of [upstream, secret]) registry.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);

  assert.equal(answer.status, 404);
  assert.equal(secret.requests.length, 0);
  const refused = await mirror.observed('upstream-refused');
  assert.match(refused.message, /localhost is at (?:127\.0\.0\.1|::1)/);
});

test('of two URLs the first dies in the middle of a blob: the client does not notice', async () => {
  const large = makeImage({ seed: 'large', layers: [24 * 1024 * 1024] });
  const [layer] = large.layers;
  // Paced, so that the cut does not throw away what is on its way in this one process.
  const rateBytesPerSecond = 40 * 1024 * 1024;
  await using dying = await startScriptedRegistry({
    rateBytesPerSecond,
    rules: [
      { when: { kind: 'blob' }, times: 1, do: { resetAfterBytes: 10 * 1024 * 1024 } },
      { when: { kind: 'blob' }, do: { hangUp: true } },
    ],
  });
  await using second = await startScriptedRegistry({ rateBytesPerSecond });
  await using mirror = await startMirror({
    upstream: dying,
    settings: { urls: [dying.url, second.url], connectionsPerBlob: 1 },
  });
  for (const registry of [dying, second]) registry.add('library/app', large, '1');

  const answer = await get(`${mirror.url}/v2/app/blobs/${layer!.digest}`);

  assert.equal(answer.digest, layer!.digest);
  const sent = dying.bytesSent(layer!.digest) + second.bytesSent(layer!.digest);
  assert.ok(sent <= 1.05 * layer!.bytes.length, `${sent} bytes for ${layer!.bytes.length}`);
});

test('of two URLs the second is asked for what the first does not have, or may not show', async () => {
  for (const status of [404, 403, 401]) {
    await using part = await startScriptedRegistry({ rules: [{ do: { status } }] });
    await using whole = await startScriptedRegistry();
    await using mirror = await startMirror({
      upstream: part,
      settings: { urls: [part.url, whole.url], readAhead: false },
    });
    whole.add('library/app', image, '1');

    const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
    const blob = await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);

    assert.deepEqual([manifest.status, blob.digest], [200, image.layers[0]!.digest]);
  }
});

test('what the first URL does not have is not gone while the second cannot be asked', async () => {
  await using part = await startScriptedRegistry();
  await using whole = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream: part,
    settings: { urls: [part.url, whole.url], tagTtl: '0s', negativeTtl: '0s', onGone: 'deny' },
  });
  const small = makeImage({ seed: 'small', layers: [1000] });
  whole.add('library/app', small, '1');
  const path = `${mirror.url}/v2/app/manifests/1`;
  await get(path);
  const blobs = [small.config, ...small.layers];
  for (const { digest } of blobs) {
    await get(`${mirror.url}/v2/app/blobs/${digest}`);
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }

  await whole.stop();
  const stale = await get(path);
  part.script({ do: { status: 403 } });
  const denied = await get(path);
  part.clearScript();
  await whole.restart();
  whole.remove('library/app', '1');
  const gone = await get(path);

  assert.deepEqual([stale.status, stale.headers['x-cache']], [200, 'STALE']);
  assert.equal(denied.status, 403);
  assert.equal(gone.status, 404);
});

test('says which registry is meant to a mirror of several', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { sendNamespace: true } });
  upstream.add('library/app', image, '1');

  await get(`${mirror.url}/v2/app/manifests/1`);

  assert.ok(upstream.requests.length > 0);
  for (const { path } of upstream.requests) assert.match(path, /[?&]ns=docker\.io/);
});

test('the login that Docker keeps is used, and a new one as soon as it is there', async () => {
  await using folder = await temporaryFolder();
  const config = join(folder.path, 'config.json');
  const auth = Buffer.from(`me:${password}`).toString('base64');
  await mkdir(folder.path, { recursive: true });
  await writeFile(config, JSON.stringify({ auths: { 'https://index.docker.io/v1/': { auth } } }));
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'basic', username: 'me', password: 'the-next-one' },
  });
  await using mirror = await startMirror({ upstream, settings: { dockerConfig: config } });
  upstream.add('library/app', image, '1');

  const before = await get(`${mirror.url}/v2/app/manifests/1`);
  const next = Buffer.from('me:the-next-one').toString('base64');
  await writeFile(
    config,
    JSON.stringify({ auths: { 'https://index.docker.io/v1/': { auth: next } } }),
  );
  const after = await get(`${mirror.url}/v2/app/manifests/1`);

  assert.deepEqual([before.status, after.status], [403, 200]);
  const told = JSON.stringify(mirror.events);
  for (const text of [password, 'the-next-one', auth, next]) assert.ok(!told.includes(text));
});

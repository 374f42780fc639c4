import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { mediaTypes } from '../../src/oci/manifest.ts';
import { get, type Answer } from '../kit/clients.ts';
import type { Rule } from '../kit/faults.ts';
import { descriptorOf, makeBlob, makeImage, pieceOf, type Piece } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { storedFiles } from '../kit/store-folder.ts';

/** What headers and manifests say is no more than a claim; what a client gets goes by the content. */

const config = pieceOf(Buffer.from('{}'), 'application/vnd.oci.image.config.v1+json');
const layer = makeBlob('layer', 5_000);

function manifestOf(document: object, mediaType: string = mediaTypes.ociManifest): Piece {
  return pieceOf(Buffer.from(JSON.stringify({ schemaVersion: 2, ...document })), mediaType);
}

const right = manifestOf({ config: descriptorOf(config), layers: [descriptorOf(layer)] });
const wrong = manifestOf({
  config: descriptorOf(config),
  layers: [{ ...descriptorOf(layer), size: 4_999 }],
});

/** As eviction does it, while the manifests stay. */
async function evict(mirror: TestMirror, piece: Piece): Promise<void> {
  await mirror.restart();
  const hex = piece.digest.slice('sha256:'.length);
  const files = (await storedFiles(mirror.storagePath)).filter((file) => file.endsWith(hex));
  assert.equal(files.length, 1);
  for (const file of files) await rm(file);
}

describe('a manifest that names a layer with a wrong size', () => {
  for (const order of [
    ['wrong', 'right'],
    ['right', 'wrong'],
  ]) {
    test(`does not take it from the ${order[1]} one, pulled after the ${order[0]} one`, async () => {
      await using upstream = await startScriptedRegistry();
      await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
      for (const piece of [config, layer]) upstream.addBlob('library/app', piece);
      upstream.addManifest('library/app', right, 'right');
      upstream.addManifest('library/app', wrong, 'wrong');
      const ask = (path: string): Promise<Answer> => get(`${mirror.url}/v2/library/app/${path}`);
      for (const tag of order) {
        assert.equal((await ask(`manifests/${tag}`)).status, 200);
      }

      const first = await ask(`blobs/${layer.digest}`);
      await evict(mirror, layer);
      const again = await ask(`blobs/${layer.digest}`);

      assert.deepEqual([first.digest, again.digest], [layer.digest, layer.digest]);
    });
  }
});

test('HEAD of a manifest by digest says what GET says, whatever upstream calls it', async () => {
  for (const type of [
    'text/plain; charset=utf-8',
    'application/json',
    'application/octet-stream',
  ]) {
    const headers = { 'content-type': type };
    await using upstream = await startScriptedRegistry({ rules: [{ do: { headers } }] });
    await using mirror = await startMirror({ upstream });
    const image = makeImage({ seed: type, layers: [100] });
    upstream.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`;

    const head = await get(url, { method: 'HEAD' });
    const whole = await get(url);

    assert.equal(head.status, 200);
    for (const name of ['content-type', 'content-length', 'docker-content-digest']) {
      assert.equal(head.headers[name], whole.headers[name], `${name}, upstream says ${type}`);
    }
    assert.equal(head.headers['content-type'], mediaTypes.ociManifest);
  }
});

test('HEAD of a manifest by digest believes no HEAD that names another digest', async () => {
  const headers = { 'docker-content-digest': wrong.digest };
  const rules = [{ when: { method: 'HEAD' }, do: { headers } }];
  await using upstream = await startScriptedRegistry({ rules });
  await using mirror = await startMirror({ upstream });
  upstream.addManifest('library/app', right, '1');

  const url = `${mirror.url}/v2/library/app/manifests/${right.digest}`;
  const head = await get(url, { method: 'HEAD' });

  assert.equal(head.headers['docker-content-digest'], right.digest);
  assert.equal(head.headers['content-length'], String(right.bytes.length));
});

test('a manifest without a type is, under another name, what upstream calls it there', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const docker = manifestOf(
    { config: descriptorOf(config), layers: [descriptorOf(layer)] },
    mediaTypes.dockerManifest,
  );
  for (const name of ['library/app', 'library/copy']) upstream.addManifest(name, docker, '1');

  const types: unknown[] = [];
  for (const name of ['app', 'copy']) {
    const answer = await get(`${mirror.url}/v2/library/${name}/manifests/${docker.digest}`);
    types.push(answer.headers['content-type']);
    // What it fetched for the first name is on the disk then.
    await mirror.restart();
  }

  assert.deepEqual(types, [mediaTypes.dockerManifest, mediaTypes.dockerManifest]);
});

test('a layer that is here is no manifest: upstream is asked, and says so', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.addBlob('library/app', layer);
  const url = `${mirror.url}/v2/library/app`;
  assert.equal((await get(`${url}/blobs/${layer.digest}`)).digest, layer.digest);

  for (const method of ['GET', 'HEAD']) {
    const { status } = await get(`${url}/manifests/${layer.digest}`, { method });

    assert.equal(status, 404, method);
  }
});

test('an artifact of a type that nobody knows is passed on, and its blobs with it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const mediaType = 'application/vnd.cncf.oras.artifact.manifest.v1+json';
  const artifact = manifestOf({ mediaType, blobs: [descriptorOf(layer)] }, mediaType);
  upstream.addBlob('library/app', layer);
  upstream.addManifest('library/app', artifact, '1');
  const url = `${mirror.url}/v2/library/app`;

  const manifest = await get(`${url}/manifests/1`);
  const blob = await get(`${url}/blobs/${layer.digest}`);

  assert.equal(manifest.headers['content-type'], mediaType);
  assert.equal(manifest.digest, artifact.digest);
  assert.equal(blob.digest, layer.digest);
});

describe('an upstream that never says how large a blob is', () => {
  const rules = [
    { when: { kind: 'blob' as const }, do: { noContentLength: true, ignoreRange: true } },
  ];

  test('is found out for HEAD', async () => {
    await using upstream = await startScriptedRegistry({ rules });
    await using mirror = await startMirror({ upstream });
    upstream.addBlob('library/app', layer);

    const head = await get(`${mirror.url}/v2/library/app/blobs/${layer.digest}`, {
      method: 'HEAD',
    });

    assert.equal(head.status, 200);
    assert.equal(head.headers['content-length'], String(layer.bytes.length));
  });

  test('confirms what is here for another repository', async () => {
    await using upstream = await startScriptedRegistry({ rules });
    await using mirror = await startMirror({ upstream });
    for (const name of ['library/app', 'library/copy']) upstream.addBlob(name, layer);

    for (const name of ['app', 'copy']) {
      const { digest } = await get(`${mirror.url}/v2/library/${name}/blobs/${layer.digest}`);
      assert.equal(digest, layer.digest, name);
    }
    const refused = await get(`${mirror.url}/v2/library/other/blobs/${layer.digest}`);

    assert.equal(refused.status, 404);
    assert.equal(upstream.count({ method: 'GET', repository: 'library/app' }), 1);
  });
});

describe('upstream that sends nothing for what is something', () => {
  const announced: Rule = { do: { status: 200, body: '' } };
  const chunked: Rule = { do: { status: 200, body: '', noContentLength: true } };
  for (const [how, rule] of Object.entries({ announced, chunked })) {
    test(`is not passed on as a whole blob, ${how}`, async () => {
      const when = { kind: 'blob' as const };
      await using upstream = await startScriptedRegistry({ rules: [{ when, ...rule }] });
      await using mirror = await startMirror({ upstream });
      upstream.addBlob('library/app', layer);
      const url = `${mirror.url}/v2/library/app/blobs/${layer.digest}`;

      const refused = await get(url);
      upstream.clearScript();
      const right = await get(url);

      assert.ok(refused.status !== 200 || !refused.complete, `it answered ${refused.status}`);
      assert.equal(right.digest, layer.digest);
    });
  }
});

describe('a client that was cut off from wrong bytes', () => {
  const large = makeBlob('large', 2_000_000);
  const flip: Rule = { when: { kind: 'blob', method: 'GET' }, do: { flipByteAt: 1_000 } };

  /** Cut near the end, it asks for the rest; the upstream sends the same wrong bytes again. */
  async function resume(mirror: TestMirror, upstream: ScriptedRegistry): Promise<Answer> {
    upstream.addBlob('library/app', large);
    const url = `${mirror.url}/v2/library/app/blobs/${large.digest}`;
    const cut = await get(url);
    assert.equal(cut.complete, false);
    assert.ok(cut.bodyBytes > 0);
    return get(url, { headers: { range: `bytes=${cut.bodyBytes}-` } });
  }

  test('does not get the end of them by asking for the rest', async () => {
    await using upstream = await startScriptedRegistry({ rules: [flip] });
    await using mirror = await startMirror({ upstream });

    const rest = await resume(mirror, upstream);

    assert.ok(rest.status !== 206 || !rest.complete, `it answered ${rest.status}`);
  });

  test('does not get it past a disk that takes nothing, either', async () => {
    await using upstream = await startScriptedRegistry({ rules: [flip] });
    await using mirror = await startMirror({
      upstream,
      config: { storage: { maxSize: '1MiB' } },
    });

    const rest = await resume(mirror, upstream);

    assert.ok(rest.status !== 206 || !rest.complete, `it answered ${rest.status}`);
  });

  test('gets the rest as soon as upstream sends it right', async () => {
    await using upstream = await startScriptedRegistry({ rules: [{ ...flip, times: 1 }] });
    await using mirror = await startMirror({ upstream });

    const rest = await resume(mirror, upstream);

    assert.equal(rest.status, 206);
    assert.equal(rest.complete, true);
  });
});

test('what passes through and falls silent is broken off and gone on with', async () => {
  const large = makeBlob('silent', 2_000_000);
  const never = new Promise<never>(() => {});
  const stall = { afterBytes: 1_000_000, until: never };
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, times: 1, do: { stall } }],
  });
  await using mirror = await startMirror({
    upstream,
    settings: { timeouts: { idle: '1s' } },
    config: { storage: { maxSize: '1MiB' } },
  });
  upstream.addBlob('library/app', large);

  const { digest } = await get(`${mirror.url}/v2/library/app/blobs/${large.digest}`);

  assert.equal(digest, large.digest);
  assert.equal(mirror.observedOf('fill-uncached').length, 1);
});

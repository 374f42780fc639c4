import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Rule } from '../kit/faults.ts';
import { makeImage, pieceOf } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'quirks', layers: [300_000] });
const layer = image.layers[0]!;

/** What an upstream does, beside being right; a pull through the mirror must not notice. */
const tolerated: [name: string, rules: Rule[]][] = [
  ['leaves Docker-Content-Digest out', [{ do: { dropHeaders: ['docker-content-digest'] } }]],
  ['leaves Content-Length out', [{ do: { noContentLength: true } }]],
  ['says that a manifest is text/plain', [type('text/plain; charset=utf-8')]],
  ['says that a manifest is application/octet-stream', [type('application/octet-stream')]],
  ...[401, 403, 405, 501].map((status): [string, Rule[]] => [
    `answers ${status} to HEAD`,
    [{ when: { method: 'HEAD' }, do: { status } }],
  ]),
  ['answers HEAD with a web page', [{ when: { method: 'HEAD' }, do: page() }]],
  [
    'sends 60 kB of headers',
    [{ do: { headers: { 'content-security-policy': 'x'.repeat(60_000) } } }],
  ],
  ['answers 200 to a range', [{ when: { kind: 'blob' }, do: { ignoreRange: true } }]],
  ...['x-gzip', 'X-GZIP', 'Identity', '', 'aws-chunked', ', identity,aws-chunked'].map(
    (coding): [string, Rule[]] => [
      `calls a layer «${coding}» encoded`,
      [{ when: { kind: 'blob' }, do: { headers: { 'content-encoding': coding } } }],
    ],
  ),
];

function type(contentType: string): Rule {
  return { when: { kind: 'manifest' }, do: { headers: { 'content-type': contentType } } };
}

function page(): Rule['do'] {
  return { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' };
}

for (const [name, rules] of tolerated) {
  test(`an upstream that ${name}: HEAD, GET and a range are answered right`, async () => {
    await using upstream = await startScriptedRegistry({ rules });
    await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
    upstream.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app`;

    const head = await get(`${url}/manifests/1`, { method: 'HEAD' });
    const manifest = await get(`${url}/manifests/1`);
    const size = await get(`${url}/blobs/${layer.digest}`, { method: 'HEAD' });
    const part = await get(`${url}/blobs/${layer.digest}`, {
      headers: { range: 'bytes=250000-250099' },
    });
    const blob = await get(`${url}/blobs/${layer.digest}`);

    for (const answer of [head, manifest]) {
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['docker-content-digest'], image.manifest.digest);
      assert.equal(answer.headers['content-type'], image.manifest.mediaType);
      assert.equal(answer.headers['content-length'], String(image.manifest.bytes.length));
    }
    assert.equal(manifest.digest, image.manifest.digest);
    assert.equal(size.headers['content-length'], String(layer.bytes.length));
    assert.deepEqual(part.body, layer.bytes.subarray(250_000, 250_100));
    assert.equal(blob.digest, layer.digest);
  });
}

test('schema 1 is refused with a message that says what it is', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const mediaType = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
  const document = { schemaVersion: 1, name: 'app', tag: '1', fsLayers: [], signatures: [] };
  upstream.addManifest(
    'library/app',
    pieceOf(Buffer.from(JSON.stringify(document)), mediaType),
    '1',
  );

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.status, 502);
  assert.match(answer.body.toString(), /schema 1 manifest/);
});

test('a blob in an encoding that nobody asked for is refused', async () => {
  const headers = { 'content-encoding': 'identity, gzip' };
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { headers } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${layer.digest}`);

  assert.equal(answer.status, 404);
  assert.match(answer.body.toString(), /Content-Encoding gzip/);
});

test('tags that come as null, twice, in pages that lead to themselves, or with what is no tag', async () => {
  const next = { link: '</v2/library/app/tags/list?n=2>; rel="next"' };
  const pages = (tags: unknown): Rule => ({
    when: { kind: 'tags', repository: 'library/app' },
    do: { status: 200, headers: next, body: JSON.stringify({ name: 'library/app', tags }) },
  });
  await using upstream = await startScriptedRegistry({
    rules: [pages(['b', 'a', 'a', 7, '../x'])],
  });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  const url = `${mirror.url}/v2/library/app/tags/list`;

  const listed = await get(url);
  const asked = upstream.count({ kind: 'tags' });
  upstream.clearScript();
  upstream.script(pages(null));
  const empty = await get(url);

  assert.deepEqual(JSON.parse(listed.body.toString()), { name: 'library/app', tags: ['a', 'b'] });
  assert.match(String(listed.headers['warning']), /its next page is the same again/);
  assert.equal(empty.headers['warning'], undefined);
  assert.equal(asked, 2);
  assert.deepEqual(JSON.parse(empty.body.toString()), { name: 'library/app', tags: [] });
});

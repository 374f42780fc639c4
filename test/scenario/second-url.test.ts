import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Fault } from '../kit/faults.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

/** The first URL of an upstream answers, and nothing of it can be used: the second one is asked. */

const image = makeImage({ seed: 'second url', layers: [400_000] });
const layer = image.layers[0]!;

const useless: [name: string, fault: Fault][] = [
  [
    'a web page',
    {
      status: 200,
      headers: { 'content-type': 'text/html' },
      body: '<h1>Log in to this Wi-Fi</h1>',
    },
  ],
  ['an encoding that nobody asked for', { headers: { 'content-encoding': 'gzip' } }],
];

for (const [name, fault] of useless) {
  test(`${name} in place of content: the second URL has it`, async () => {
    await using first = await startScriptedRegistry({
      rules: ['manifest', 'blob', 'tags'].map((kind) => ({
        when: { kind: kind as 'manifest' | 'blob' | 'tags' },
        do: fault,
      })),
    });
    await using second = await startScriptedRegistry();
    await using mirror = await startMirror({
      upstream: second,
      settings: { urls: [first.url, second.url], readAhead: false },
    });
    for (const registry of [first, second]) registry.add('library/app', image, '1');
    const url = `${mirror.url}/v2/library/app`;

    const head = await get(`${url}/manifests/1`, { method: 'HEAD' });
    const manifest = await get(`${url}/manifests/1`);
    const size = await get(`${url}/blobs/${layer.digest}`, { method: 'HEAD' });
    const blob = await get(`${url}/blobs/${layer.digest}`);
    const tags = await get(`${url}/tags/list`);

    assert.equal(head.headers['content-length'], String(image.manifest.bytes.length));
    assert.equal(manifest.digest, image.manifest.digest);
    assert.equal(size.headers['content-length'], String(layer.bytes.length));
    assert.equal(blob.digest, layer.digest);
    assert.deepEqual(JSON.parse(tags.body.toString()), { name: 'library/app', tags: ['1'] });
    assert.equal(first.count() > 0, true);
  });
}

const broken: [name: string, fault: Fault][] = [
  ['announces another size', { headers: { 'content-length': '5' }, body: 'other', status: 200 }],
  ['falls silent', { stall: { afterBytes: 100_000, until: new Promise(() => {}) } }],
  ['breaks off after 500 bytes each time', { truncateAfterBytes: 500 }],
  ['is reset after 500 bytes each time', { resetAfterBytes: 500 }],
];

for (const [name, fault] of broken) {
  test(`a blob of the first URL ${name}: the second URL has it`, async () => {
    await using first = await startScriptedRegistry({
      rules: [{ when: { kind: 'blob', method: 'GET' }, do: fault }],
    });
    await using second = await startScriptedRegistry();
    await using mirror = await startMirror({
      upstream: second,
      settings: {
        urls: [first.url, second.url],
        readAhead: false,
        timeouts: { idle: '300ms' },
      },
    });
    for (const registry of [first, second]) registry.add('library/app', image, '1');
    await get(`${mirror.url}/v2/library/app/manifests/1`);

    const blob = await get(`${mirror.url}/v2/library/app/blobs/${layer.digest}`);

    assert.equal(blob.digest, layer.digest);
    assert.equal(first.count({ kind: 'blob' }), 1);
    assert.equal(second.count({ kind: 'blob' }), 1);
  });
}

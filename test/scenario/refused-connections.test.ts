import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Fault } from '../kit/faults.ts';
import { makeBlob } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

/** An upstream that serves one connection a blob, and refuses the others that a slow one calls for. */

const mebibyte = 1024 * 1024;
const blob = makeBlob('one connection only', 12 * mebibyte);
const path = `/v2/library/app/blobs/${blob.digest}`;

/** More connections pay, and what is left after the first of them takes a second or so. */
const slow: Fault = { rateBytesPerSecond: 8 * mebibyte };

const refusals: [name: string, fault: Fault][] = [
  ['429', { status: 429 }],
  ['429 for a minute', { status: 429, headers: { 'retry-after': '60' } }],
  ['403', { status: 403 }],
  ['404', { status: 404 }],
  ['503', { status: 503 }],
  ['a cut connection', { hangUp: true }],
];

for (const [name, fault] of refusals) {
  test(`a second connection is refused with ${name}: the first brings the whole`, async () => {
    await using upstream = await startScriptedRegistry({
      rules: [
        { when: { kind: 'blob', ranged: true }, do: fault },
        { when: { kind: 'blob' }, do: slow },
      ],
    });
    await using mirror = await startMirror({ upstream });
    upstream.addBlob('library/app', blob);
    const from = blob.bytes.length - 1000;

    const [whole, end] = await Promise.all([
      get(mirror.url + path),
      get(mirror.url + path, { headers: { range: `bytes=${from}-` } }),
    ]);

    assert.equal(whole.digest, blob.digest);
    assert.deepEqual(end.body, blob.bytes.subarray(from));
    assert.equal(upstream.bytesSent(blob.digest), blob.bytes.length);
    assert.ok(upstream.count({ kind: 'blob', ranged: true }) <= 12, 'it is asked again and again');
  });
}

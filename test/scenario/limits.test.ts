import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

test('eight downloads together keep to the bandwidth of the upstream', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { bandwidth: '10MB/s' } });
  const blobs = Array.from({ length: 8 }, (_, at) => makeBlob(`limited-${at}`, 5_000_000));
  for (const blob of blobs) upstream.addBlob('library/app', blob);

  const startMs = performance.now();
  const answers = await Promise.all(
    blobs.map(({ digest }) => get(`${mirror.url}/v2/library/app/blobs/${digest}`)),
  );
  const seconds = (performance.now() - startMs) / 1000;

  const rate = upstream.bytesSent() / seconds;
  assert.deepEqual(
    answers.map(({ digest }) => digest),
    blobs.map(({ digest }) => digest),
  );
  assert.ok(rate > 9e6 && rate < 11e6, `${Math.round(rate)} bytes a second`);
});

test('under a bandwidth limit what a client waits for comes before what is read ahead', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { bandwidth: '4MB/s' } });
  const image = makeImage({ seed: 'ahead', layers: [3_000_000, 3_000_000, 3_000_000] });
  const wanted = makeBlob('wanted', 4_000_000);
  upstream.add('library/app', image, '1');
  upstream.addBlob('library/app', wanted);
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  await upstream.arrived({ kind: 'blob', reference: image.layers[2]!.digest });

  const got = await get(`${mirror.url}/v2/library/app/blobs/${wanted.digest}`);

  assert.equal(got.digest, wanted.digest);
  // Alone it takes one second, beside three that have the same rights four.
  assert.ok(got.totalMs < 2_000, `${got.totalMs} ms`);
});

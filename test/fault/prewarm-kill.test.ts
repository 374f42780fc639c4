import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mediaTypes } from '../../src/oci/manifest.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { descriptorOf, makeBlob, pieceOf } from '../kit/images.ts';
import type { RunAnswer } from '../kit/runs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;
const layerBytes = 64 * mib;
const layersCount = 16;

test('killed in the middle of a prewarm of 1 GiB, it goes on where it was', async (t) => {
  await using upstream = await startScriptedRegistry({ linkBytesPerSecond: 128 * mib });
  // The layers are windows into the same bytes, each with a digest of its own.
  const { bytes } = makeBlob('a gibibyte', layerBytes + layersCount);
  const layers = Array.from({ length: layersCount }, (_, at) =>
    pieceOf(bytes.subarray(at, at + layerBytes), 'application/vnd.oci.image.layer.v1.tar+gzip'),
  );
  const config = pieceOf(Buffer.from('{}'), 'application/vnd.oci.image.config.v1+json');
  const manifest = pieceOf(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: descriptorOf(config),
        layers: layers.map((layer) => descriptorOf(layer)),
      }),
    ),
    mediaTypes.ociManifest,
  );
  for (const blob of [config, ...layers]) upstream.addBlob('library/large', blob);
  upstream.addManifest('library/large', manifest, '1');
  await using mirror = await startEntrepotProcess({
    config: {
      log: { level: 'warn' },
      storage: { minFree: '0', maxSize: '4GiB' },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
  });
  const contentBytes = layersCount * layerBytes;
  const started = await fetch(`${mirror.adminUrl}/api/v1/prewarm`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ images: ['large:1'] }),
  });
  assert.equal(started.status, 202);
  const patient = { timeoutMs: 60_000 };
  await until('half of it is sent', () => upstream.bytesSent() > contentBytes / 2, patient);

  await mirror.kill();
  const sentAtKill = upstream.bytesSent();
  await mirror.restart();
  const runs = async (): Promise<RunAnswer[]> => {
    const answer = await fetch(`${mirror.adminUrl}/api/v1/runs`);
    return ((await answer.json()) as { items: RunAnswer[] }).items;
  };
  const isDone = async (): Promise<boolean> => (await runs())[0]?.state === 'succeeded';
  await until('the run has gone on to its end', isDone, patient);

  const [resumed, killed] = await runs();
  assert.deepEqual([resumed?.trigger, killed?.state], ['start', 'cancelled']);
  assert.equal(resumed?.progress['bytesDone'], contentBytes + config.bytes.length);
  const share = upstream.bytesSent() / contentBytes;
  t.diagnostic(`killed after ${sentAtKill / mib} MiB; fetched in all ${share.toFixed(3)} x`);
  assert.ok(share <= 1.1, `${share} times the content was fetched`);
});

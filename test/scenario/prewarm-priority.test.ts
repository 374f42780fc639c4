import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { api, ended, type RunAnswer } from '../kit/runs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

/** As dockerd does: the manifest, then all layers at once. Milliseconds. */
async function pullMs(mirror: TestMirror, name: string, image: Image): Promise<number> {
  const startMs = performance.now();
  await get(`${mirror.url}/v2/${name}/manifests/1`);
  const blobs = await Promise.all(
    [image.config, ...image.layers].map(({ digest }) =>
      get(`${mirror.url}/v2/${name}/blobs/${digest}`),
    ),
  );
  const ms = performance.now() - startMs;
  assert.ok(blobs.every(({ status, complete }) => status === 200 && complete));
  return ms;
}

test('a client’s pull during a prewarm that fills the link takes hardly longer than at an idle mirror', async (t) => {
  const wanted = makeImage({ seed: 'wanted', layers: [20 * mib, 12 * mib, 8 * mib] });
  const ahead = makeImage({ seed: 'ahead', layers: Array<number>(4).fill(10 * mib) });
  await using upstream = await startScriptedRegistry({ linkBytesPerSecond: 20 * mib });
  upstream.add('library/wanted', wanted, '1');
  upstream.add('library/ahead', ahead, '1');
  await using idle = await startMirror({ upstream });
  await using busy = await startMirror({ upstream });
  const idleMs = await pullMs(idle, 'wanted', wanted);

  const sentBefore = upstream.bytesSent();
  const { id } = await api<RunAnswer>(busy, '/prewarm', 'POST', { images: ['ahead:1'] });
  await until('the prewarm fills the link', () => upstream.bytesSent() - sentBefore > 8 * mib);
  const busyMs = await pullMs(busy, 'wanted', wanted);
  const run = await api<RunAnswer>(busy, `/runs/${id}`);

  t.diagnostic(`idle ${idleMs.toFixed(0)} ms, busy ${busyMs.toFixed(0)} ms`);
  assert.equal(run.state, 'running', 'the prewarm was under way all the time');
  assert.ok(busyMs <= 1.3 * idleMs, `${busyMs} ms instead of ${idleMs} ms`);
  const end = await ended(busy, id);
  assert.equal(end.state, 'succeeded', JSON.stringify(end.errors));
});

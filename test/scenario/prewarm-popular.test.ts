import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stats } from '../../src/api/stats.ts';
import { get } from '../kit/clients.ts';
import { makeImage, makeIndex, type Image, type ImageIndex } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { api } from '../kit/runs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

/** A version for two platforms; the second is what clients here pull. */
function version(seed: string): { index: ImageIndex; amd: Image; arm: Image } {
  const amd = makeImage({ seed: `${seed} amd`, layers: [60_000] });
  const arm = makeImage({ seed: `${seed} arm`, layers: [70_000, 40_000], platform: 'linux/arm64' });
  return { index: makeIndex([amd, arm]), amd, arm };
}

/** What each blob was, by X-Cache. */
async function pull(mirror: TestMirror, { arm }: { arm: Image }, tag = '1'): Promise<string[]> {
  const of = `${mirror.url}/v2/app`;
  const head = await get(`${of}/manifests/${tag}`, { method: 'HEAD' });
  assert.equal(head.status, 200);
  const outcomes: string[] = [];
  for (const path of [
    `manifests/${String(head.headers['docker-content-digest'])}`,
    `manifests/${arm.manifest.digest}`,
    ...[arm.config, ...arm.layers].map(({ digest }) => `blobs/${digest}`),
  ]) {
    const answer = await get(`${of}/${path}`);
    assert.equal(answer.status, 200, path);
    outcomes.push(String(answer.headers['x-cache']));
  }
  return outcomes;
}

const sizeOf = ({ config, layers }: Image): number =>
  [config, ...layers].reduce((sum, { bytes }) => sum + bytes.length, 0);

test('a popular tag that moves is warm within a period, for the platform that clients pull; over restarts, too', async () => {
  const [first, second, third] = [version('1'), version('2'), version('3')];
  const rare = makeImage({ seed: 'rare', layers: [20_000] });
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', first.index, '1');
  upstream.add('library/app', rare, 'rare');
  await using mirror = await startMirror({
    upstream,
    settings: { tagTtl: '1h' },
    config: { prewarm: [{ name: 'learnt', popular: { top: 1, every: '1s' } }] },
  });
  await pull(mirror, first);
  await pull(mirror, first);
  await get(`${mirror.url}/v2/app/manifests/rare`);
  const warm = async ({ arm }: { arm: Image }): Promise<void> => {
    for (const { digest } of [arm.config, ...arm.layers]) {
      await mirror.observed('fill-committed', (event) => event.digest === digest);
    }
  };

  upstream.add('library/app', second.index, '1');
  const movedMs = performance.now();
  await warm(second);
  const seconds = (performance.now() - movedMs) / 1000;
  const outcomes = await pull(mirror, second);

  assert.ok(seconds < 3, `warm after ${seconds} s`);
  assert.deepEqual(outcomes, ['HIT', 'HIT', 'HIT', 'HIT', 'HIT']);
  assert.equal(upstream.count({ kind: 'blob', reference: second.amd.layers[0]!.digest }), 0);
  assert.equal(upstream.count({ kind: 'manifest', reference: 'rare' }), 1, 'not among the top');
  const heads = upstream.matching({ method: 'GET', kind: 'manifest', reference: '1' });
  assert.ok(heads.length <= 1, 'after the first GET a tag is asked for by HEAD');

  for (const { digest } of [second.arm.config, ...second.arm.layers]) {
    await mirror.observed('request', ({ reference }) => reference === digest);
  }
  const stats = await api<Stats>(mirror, '/stats');
  assert.deepEqual(stats.prewarm, {
    bytes: sizeOf(second.arm),
    servedBytes: sizeOf(second.arm),
    evictedBytes: 0,
  });

  await mirror.restart();
  upstream.add('library/app', third.index, '1');
  await warm(third);
  const metrics = await (await fetch(`${mirror.adminUrl}/metrics`)).text();
  const bytes = sizeOf(second.arm) + sizeOf(third.arm);
  assert.match(metrics, new RegExp(`^entrepot_prewarmed_bytes_total ${bytes}$`, 'm'));
  assert.match(
    metrics,
    new RegExp(`^entrepot_prewarmed_served_bytes_total ${sizeOf(second.arm)}$`, 'm'),
  );
});

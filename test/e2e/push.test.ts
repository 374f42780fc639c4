import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { requireProgram } from '../kit/program.ts';
import { startDockerd, startDockerRegistry } from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';
import { largeName, makeLarge } from './pulled-images.ts';

test(
  'what is pulled here is pushed to a plain docker-registry: dockerd pulls from it',
  { timeout: 120_000 },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker', 'docker-registry', 'busybox')) return;
    await using upstream = await startScriptedRegistry();
    const { index, here } = makeLarge('pushed');
    upstream.add(largeName, index, 'v1');
    await using edge = await startDockerRegistry();
    await using mirror = await startEntrepotProcess({
      config: {
        log: { level: 'warn' },
        storage: { minFree: '0' },
        upstreams: { 'docker.io': { urls: [upstream.url] } },
        site: {
          name: 'source',
          push: [{ name: 'edge', url: edge.url, repositories: ['docker.io/**'] }],
        },
      },
    });
    await using daemon = await startDockerd({ mirrors: [edge.url] });

    await get(`${mirror.url}/v2/${largeName}/manifests/v1`);
    await get(`${mirror.url}/v2/${largeName}/manifests/${here.manifest.digest}`);
    for (const { digest } of [here.config, ...here.layers]) {
      await get(`${mirror.url}/v2/${largeName}/blobs/${digest}`);
    }
    await until(
      'both to be equal, and the image to be here',
      async () => {
        const answer = await fetch(`${mirror.adminUrl}/api/v1/sync/verify`);
        const tags = await get(`${edge.url}/v2/${largeName}/tags/list`);
        const { isEqual } = (await answer.json()) as { isEqual: boolean };
        return isEqual && tags.body.toString().includes('v1');
      },
      { timeoutMs: 30_000, everyMs: 200 },
    );
    await upstream.stop();
    await mirror.stop();
    const { code, stderr } = await daemon.docker('pull', `${largeName}:v1`);

    assert.equal(code, 0, stderr);
  },
);

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pin } from '../../src/api/care.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { requireProgram } from '../kit/program.ts';
import { pushImage, startDockerd, startDockerRegistry } from '../kit/programs.ts';
import { until } from '../kit/wait-for.ts';

test(
  'what a rule selects every second is here and pinned: dockerd pulls it when the real upstream is gone',
  { timeout: 60_000 },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker', 'docker-registry')) return;
    await using upstream = await startDockerRegistry();
    const images = new Map<string, Image>();
    for (const tag of ['1.0', '1.1', '2.0', 'latest']) {
      const image = makeImage({ seed: `base ${tag}`, layers: [2_000_000, 100_000], docker: true });
      images.set(tag, image);
      await pushImage(upstream.url, 'library/base', tag, image);
    }
    await using mirror = await startEntrepotProcess({
      config: {
        upstreams: { 'docker.io': { urls: [upstream.url] } },
        prewarm: [
          {
            name: 'base',
            images: ['docker.io/library/base:1.*'],
            schedule: '* * * * * *',
            pin: true,
          },
        ],
      },
    });
    const api = async <T>(path: string): Promise<T> =>
      (await (await fetch(`${mirror.adminUrl}/api/v1/${path}`)).json()) as T;
    await until('a run has succeeded', async () => {
      const { items } = await api<{ items: { state: string }[] }>('runs?job=prewarm:base');
      return items.some(({ state }) => state === 'succeeded');
    });

    const { items: pins } = await api<{ items: Pin[] }>('pins');
    await upstream.stop();
    await using daemon = await startDockerd({ mirrors: [mirror.url] });

    assert.deepEqual(
      pins.map(({ reference, by }) => [reference, by]),
      ['1.0', '1.1'].map((tag) => [`docker.io/library/base:${tag}`, ['prewarm:base']]),
    );
    for (const [tag, image] of images) {
      const pulled = await daemon.docker('pull', '--quiet', `base:${tag}`);
      if (!tag.startsWith('1.')) {
        assert.notEqual(pulled.code, 0, `${tag} was not selected`);
        continue;
      }
      assert.equal(pulled.code, 0, pulled.stderr);
      const inspected = await daemon.docker('image', 'inspect', `base:${tag}`);
      const [{ Id }] = JSON.parse(inspected.stdout.toString()) as [{ Id: string }];
      assert.equal(Id, image.config.digest);
    }
  },
);

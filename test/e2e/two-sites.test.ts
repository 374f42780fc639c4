import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { requireProgram } from '../kit/program.ts';
import { pushImage, startDockerd, startDockerRegistry } from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';
import { largeName, makeLarge, makeSmall, smallName } from './pulled-images.ts';

test(
  'a plain docker-registry is the primary: its tags are polled, and dockerd pulls them when it is gone',
  { timeout: 120_000 },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker', 'docker-registry', 'busybox')) return;
    await using primary = await startDockerRegistry();
    const { index } = makeLarge('two sites');
    await pushImage(primary.url, largeName, 'v1', index);
    await pushImage(primary.url, largeName, 'v1-rc1', index);
    await using nothing = await startScriptedRegistry();
    await nothing.stop();
    await using site = await startEntrepotProcess({
      config: {
        log: { level: 'warn' },
        storage: { minFree: '0' },
        upstreams: { 'docker.io': { urls: [nothing.url] } },
        site: {
          name: 'branch',
          primary: { url: primary.url },
          sync: [
            {
              name: 'all',
              repositories: ['docker.io/**'],
              tags: { exclude: ['*-rc*'] },
              schedule: '* * * * * *',
            },
          ],
        },
      },
    });
    await using daemon = await startDockerd({ mirrors: [site.url] });
    const tagsOf = async (name: string): Promise<string[]> => {
      const path = `/api/v1/repositories/${encodeURIComponent(`docker.io/${name}`)}/tags`;
      const { items } = (await (await fetch(site.adminUrl + path)).json()) as {
        items: { tag: string }[];
      };
      return items.map(({ tag }) => tag);
    };
    await until('the tag to be here', async () => (await tagsOf(largeName)).length > 0, {
      timeoutMs: 30_000,
      everyMs: 200,
    });

    // What is pushed later is found by the next question.
    await pushImage(primary.url, smallName, '1', makeSmall());
    await until('the pushed one to be here', async () => (await tagsOf(smallName)).length > 0, {
      timeoutMs: 30_000,
      everyMs: 200,
    });
    await primary.stop();
    const pulls = [
      await daemon.docker('pull', `${smallName}:1`),
      await daemon.docker('pull', `${largeName}:v1`),
    ];

    for (const { code, stderr } of pulls) assert.equal(code, 0, stderr);
    assert.deepEqual(await tagsOf(largeName), ['v1']);
  },
);

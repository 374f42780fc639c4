import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { build } from 'vite';
import type { PageOf } from '../../src/api/common.ts';
import type { Run } from '../../src/api/runs.ts';
import { get } from './clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from './entrepot.ts';
import { makeImage, makeIndex } from './images.ts';
import { findFreePort } from './program.ts';
import type { ScriptedRegistry } from './scripted-registry.ts';
import { until } from './wait-for.ts';

const dashboardPath = fileURLToPath(new URL('../../src/dashboard', import.meta.url));

/** As `npm run build:dashboard` does it. */
export async function buildDashboard(): Promise<void> {
  await build({
    root: dashboardPath,
    base: './',
    configFile: false,
    logLevel: 'error',
    build: { outDir: '../../dist/dashboard', emptyOutDir: true },
  });
}

/** A mirror of this upstream, and of nothing else. */
export function startFor(upstream: ScriptedRegistry): Promise<EntrepotProcess> {
  return startEntrepotProcess({
    config: {
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url], connectionsPerBlob: 1 } },
    },
  });
}

export const shownImage = makeImage({ seed: 'shown', layers: [300_000, 20_000] });
export const shownToo = makeImage({
  seed: 'shown too',
  layers: [10_000],
  platform: 'linux/arm64/v8',
});

/** A mirror with something on every page: content, a pin, a run that failed, an upstream that is away. */
export async function startShown(upstream: ScriptedRegistry): Promise<EntrepotProcess> {
  upstream.add('library/shown', makeIndex([shownImage, shownToo]), '1');
  upstream.add(
    'team/a-name/of-many/parts/and-more-than-a-narrow-screen/has-room-for',
    shownToo,
    'v1',
  );
  const mirror = await startEntrepotProcess({
    config: {
      storage: { minFree: '0' },
      upstreams: {
        'docker.io': { urls: [upstream.url] },
        'ghcr.io': { urls: [`http://127.0.0.1:${await findFreePort()}`] },
      },
      prewarm: [{ name: 'gone', images: ['docker.io/library/none:1'] }],
    },
  });
  const ask = (path: string, body?: unknown): Promise<Response> =>
    fetch(`${mirror.adminUrl}/api/v1/${path}`, {
      method: 'POST',
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: jsonHeaders }),
    });
  await ask('prewarm', { images: ['docker.io/library/shown:1'] });
  await get(
    `${mirror.url}/v2/team/a-name/of-many/parts/and-more-than-a-narrow-screen/has-room-for/manifests/v1`,
  );
  await ask('jobs/prewarm:gone/run');
  await until('both runs to end', async () => {
    const { items } = await list<Run>(mirror, 'runs');
    return items.length === 2 && items.every(({ endedAt }) => endedAt !== null);
  });
  await ask('pins', { reference: 'docker.io/library/shown:1' });
  return mirror;
}

const jsonHeaders = { 'Content-Type': 'application/json' };

/** The first page of a list of the admin API. */
export async function list<T>(mirror: EntrepotProcess, path: string): Promise<PageOf<T>> {
  return (await (await fetch(`${mirror.adminUrl}/api/v1/${path}`)).json()) as PageOf<T>;
}

/** What stands below the name of a figure. */
export function figure(page: Page, name: string): Promise<string> {
  return page.locator(`dt:text-is("${name}") + dd strong`).innerText();
}

/** The text of what has the focus. */
export async function focused(page: Page): Promise<string> {
  return String(await page.evaluate('document.activeElement.innerText'));
}

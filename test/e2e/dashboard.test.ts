import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { Page } from 'playwright-core';
import { buildDashboard, openTab } from '../kit/browser.ts';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob } from '../kit/images.ts';
import { requireProgram } from '../kit/program.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const timeout = 120_000;

before(() => buildDashboard());

function startFor(upstream: ScriptedRegistry): Promise<EntrepotProcess> {
  return startEntrepotProcess({
    config: {
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url], connectionsPerBlob: 1 } },
    },
  });
}

test('the page is asked for anew, its files are kept; it may run its own files only', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFor(upstream);

  const page = await fetch(`${mirror.adminUrl}/`);
  const html = await page.text();
  const files = [...html.matchAll(/(?:src|href)="\.\/(assets\/[^"]+)"/g)].map(([, path]) => path);
  const answers = await Promise.all(files.map((path) => fetch(`${mirror.adminUrl}/${path}`)));

  assert.equal(page.status, 200);
  assert.equal(page.headers.get('cache-control'), 'no-cache');
  const policy = page.headers.get('content-security-policy') ?? '';
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'(;|$)/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.ok(files.length >= 3, html);
  for (const answer of answers) {
    assert.equal(answer.status, 200, answer.url);
    assert.match(answer.url, /-[\w-]{8}\.(?:js|css|svg)$/, 'the name carries a hash');
    assert.match(answer.headers.get('cache-control') ?? '', /max-age=31536000, immutable/);
  }
  assert.equal((await fetch(`${mirror.adminUrl}/assets/none.js`)).status, 404);
  assert.equal((await fetch(`${mirror.adminUrl}/assets/%2e%2e/index.html`)).status, 404);
});

test('the overview moves while a pull of 1 GiB runs', { timeout }, async (t) => {
  if (!requireProgram(t, 'chromium')) return;
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 150_000_000 });
  const blob = makeBlob('large', 1024 ** 3);
  upstream.addBlob('library/large', blob);
  await using mirror = await startFor(upstream);
  await using tab = await openTab();
  const { page } = tab;
  await page.goto(mirror.adminUrl);
  await page.getByText('Nothing is being fetched.').waitFor();
  assert.equal(await figure(page, 'Fetched'), '0 B');

  const pulling = get(`${mirror.url}/v2/library/large/blobs/${blob.digest}`, { keepBodyBytes: 0 });
  const seen = {
    fetched: new Set<string>(),
    served: new Set<string>(),
    progress: new Set<string>(),
  };
  const bar = page.getByRole('progressbar', { name: 'docker.io/library/large' });
  await bar.waitFor();
  await until(
    'the figures to move five times',
    async () => {
      seen.fetched.add(await figure(page, 'Fetched'));
      seen.served.add(await figure(page, 'Served'));
      if (await bar.isVisible()) seen.progress.add((await bar.getAttribute('value')) ?? '');
      return Math.min(seen.fetched.size, seen.served.size) >= 5;
    },
    { timeoutMs: 30_000, everyMs: 100 },
  );
  const pulled = await pulling;
  await page.getByText('Nothing is being fetched.').waitFor();

  assert.equal(pulled.digest, blob.digest);
  assert.ok(seen.progress.size >= 3, [...seen.progress].join(' '));
  assert.equal(await figure(page, 'Fetched'), '1 GiB');
  assert.deepEqual(tab.complaints, []);
  assert.deepEqual([...tab.hosts], [new URL(mirror.adminUrl).host]);
});

/** What stands below the name of a figure. */
function figure(page: Page, name: string): Promise<string> {
  return page.locator(`dt:text-is("${name}") + dd strong`).innerText();
}

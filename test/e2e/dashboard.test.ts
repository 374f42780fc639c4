import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { Repository } from '../../src/api/content.ts';
import type { Run } from '../../src/api/runs.ts';
import { openTab } from '../kit/browser.ts';
import {
  buildDashboard,
  figure,
  focused,
  list,
  shownImage,
  shownToo,
  startFor,
  startShown,
} from '../kit/dashboard.ts';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob, makeImage, makeIndex } from '../kit/images.ts';
import { requireProgram } from '../kit/program.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const timeout = 120_000;

before(() => buildDashboard());

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

for (const { locale, lang, widthPx, colorScheme, title } of [
  { locale: 'en-GB', lang: 'en', widthPx: 1280, colorScheme: 'light', title: /^Overview/ },
  { locale: 'zh-CN', lang: 'zh-CN', widthPx: 380, colorScheme: 'dark', title: /^概览/ },
] as const) {
  test(
    `every page opens without a complaint and fits: ${locale}, ${widthPx} px, ${colorScheme}`,
    { timeout },
    async (t) => {
      if (!requireProgram(t, 'chromium')) return;
      await using upstream = await startScriptedRegistry();
      await using mirror = await startShown(upstream);
      const [run] = (await list<Run>(mirror, 'runs')).items;
      await using tab = await openTab({ locale, widthPx, colorScheme });
      const { page } = tab;
      const shown = 'content/docker.io%2Flibrary%2Fshown';

      await page.goto(mirror.adminUrl);
      await page.locator('dl').first().waitFor();
      assert.match(await page.title(), title);
      assert.equal(await page.locator('html').getAttribute('lang'), lang);
      const headings = new Set<string>();
      for (const [place, sign] of [
        ['', 'role=meter'],
        ['content', 'text=docker.io/library/shown'],
        [shown, 'text=★'],
        [`${shown}/${makeIndex([shownImage, shownToo]).manifest.digest}`, 'text=linux/arm64/v8'],
        [`${shown}/${shownImage.manifest.digest}`, 'text=application/vnd.oci.image.config.v1+json'],
        ['upstreams', 'text=ghcr.io'],
        ['jobs', 'text=prewarm:gone'],
        [`jobs/${run!.id}`, 'role=log'],
        ['sites', 'main .empty'],
        ['settings', 'text=shutdownTimeout'],
        ['set-up', 'text=registry-mirrors'],
        ['nowhere', 'main a'],
      ] as const) {
        await page.goto(`${mirror.adminUrl}/#/${place}`);
        await page.locator(sign).first().waitFor();
        const scrollWidth = await page.evaluate('document.documentElement.scrollWidth');
        assert.equal(scrollWidth, widthPx, `${place} is as wide as the window`);
        assert.equal(await page.locator('main > .notice.bad').count(), 0, place);
        headings.add(await page.locator('h1').innerText());
      }

      assert.ok(headings.size >= 11, [...headings].join(', '));
      assert.deepEqual(tab.complaints, []);
      assert.deepEqual([...tab.hosts], [new URL(mirror.adminUrl).host]);
    },
  );
}

test(
  'an image is fetched and purged by clicking; what goes is shown before',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'chromium')) return;
    await using upstream = await startScriptedRegistry();
    upstream.add('library/shown', shownImage, '1');
    await using mirror = await startFor(upstream);
    await using tab = await openTab();
    const { page } = tab;
    await page.goto(mirror.adminUrl);

    await page.getByRole('link', { name: 'Content', exact: true }).click();
    await page.getByRole('textbox', { name: 'Images' }).fill('docker.io/library/shown:1');
    await page.getByRole('button', { name: 'Fetch' }).click();
    await page.getByText('succeeded').waitFor();
    assert.equal(
      upstream.bytesSent(shownImage.layers[0]!.digest),
      shownImage.layers[0]!.bytes.length,
    );

    await page.getByRole('link', { name: 'docker.io/library/shown' }).click();
    await page.getByRole('button', { name: 'Purge docker.io/library/shown:1' }).click();
    const dialog = page.getByRole('dialog', { name: 'Purge docker.io/library/shown:1' });
    await dialog.getByText('Would remove: tags 1, objects 4').waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.equal(await focused(page), 'Purge', 'the focus is back where it was');
    await page.keyboard.press('Enter');
    await dialog.getByText('Would remove: tags 1, objects 4').waitFor();
    assert.equal((await list(mirror, 'repositories')).items.length, 1, 'nothing is gone yet');
    await dialog.getByRole('button', { name: 'Purge now' }).click();
    await dialog.getByText('Removed: tags 1, objects 4').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();

    await page.getByText('No tag is cached.').waitFor();
    assert.equal((await list(mirror, 'repositories')).items.length, 0);
    assert.equal((await list(mirror, 'blobs')).items.length, 0);
    assert.deepEqual(tab.complaints, []);
  },
);

test('a run is followed and cancelled by clicking', { timeout }, async (t) => {
  if (!requireProgram(t, 'chromium')) return;
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 100_000 });
  upstream.add('library/slow', makeImage({ seed: 'slow', layers: [50_000_000] }), '1');
  await using mirror = await startFor(upstream);
  await using tab = await openTab();
  const { page } = tab;
  await page.goto(`${mirror.adminUrl}/#/content`);
  await page.getByRole('textbox', { name: 'Images' }).fill('docker.io/library/slow:1');
  await page.getByRole('button', { name: 'Fetch' }).click();

  await page.getByRole('link', { name: 'Follow it' }).click();
  await page.getByRole('progressbar', { name: 'prewarm' }).waitFor();
  await page.getByRole('button', { name: 'Cancel the run of prewarm' }).click();

  await page.getByText('cancelled').first().waitFor();
  const [run] = (await list<Run>(mirror, 'runs')).items;
  assert.equal(run?.state, 'cancelled');
  assert.deepEqual(tab.complaints, []);
});

test('a token is asked for, tried, and kept in the tab alone', { timeout }, async (t) => {
  if (!requireProgram(t, 'chromium')) return;
  await using upstream = await startScriptedRegistry();
  await using mirror = await startEntrepotProcess({
    config: {
      admin: { token: { env: 'ADMIN_TOKEN' } },
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
    env: { ADMIN_TOKEN: 'open-sesame' },
  });
  await using tab = await openTab();
  const { page } = tab;
  await page.goto(mirror.adminUrl);

  await page.getByLabel('Token').fill('wrong');
  await page.getByRole('button', { name: 'Unlock' }).click();
  await page.getByText('The mirror does not take this token.').waitFor();
  await page.getByLabel('Token').fill('open-sesame');
  await page.getByRole('button', { name: 'Unlock' }).click();
  await page.getByText('Hit ratio').waitFor();
  await page.reload();
  await page.getByText('Hit ratio').waitFor();

  assert.equal(await page.evaluate('JSON.stringify(localStorage)'), '{}');
  assert.match(String(await page.evaluate('JSON.stringify(sessionStorage)')), /open-sesame/);
});

test(
  'a site shows how far it is behind its primary, and is brought into step by clicking',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'chromium')) return;
    await using upstream = await startScriptedRegistry();
    upstream.add('library/shown', shownImage, '1');
    await using primary = await startFor(upstream);
    await get(`${primary.url}/v2/library/shown/manifests/1`);
    await using mirror = await startEntrepotProcess({
      config: {
        storage: { minFree: '0' },
        upstreams: { 'docker.io': { urls: [upstream.url] } },
        site: {
          name: 'branch',
          primary: { url: primary.url, admin: primary.adminUrl },
          sync: [{ name: 'team', repositories: ['docker.io/library/**'], follow: false }],
        },
      },
    });
    await using tab = await openTab();
    const { page } = tab;
    await page.goto(`${mirror.adminUrl}/#/sites`);

    await page.getByRole('heading', { name: 'branch' }).waitFor();
    await page.getByRole('button', { name: 'Sync team now' }).click();
    await page.getByText('succeeded').first().waitFor();
    await page.getByRole('link', { name: 'Sites' }).click();
    await page.getByText('in step').waitFor();
    await page.getByText('1 images: ').waitFor();
    await page.getByRole('button', { name: 'Compare both sides' }).click();
    await page.getByText('Both sides are equal.').waitFor();

    const { items } = await list<Repository>(mirror, 'repositories');
    assert.deepEqual(
      items.map(({ name }) => name),
      ['docker.io/library/shown'],
    );
    assert.deepEqual(tab.complaints, []);
  },
);

test('a tag shows what it named before, and is pinned by clicking', { timeout }, async (t) => {
  if (!requireProgram(t, 'chromium')) return;
  await using upstream = await startScriptedRegistry();
  upstream.add('library/shown', shownToo, '1');
  await using mirror = await startEntrepotProcess({
    config: {
      storage: { minFree: '0' },
      upstreams: { 'docker.io': { urls: [upstream.url], tagTtl: '0' } },
    },
  });
  await get(`${mirror.url}/v2/library/shown/manifests/1`);
  upstream.add('library/shown', shownImage, '1');
  await get(`${mirror.url}/v2/library/shown/manifests/1`);
  await using tab = await openTab();
  const { page } = tab;
  await page.goto(`${mirror.adminUrl}/#/content`);

  await page.getByRole('searchbox').fill('show');
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'docker.io/library/shown' }).click();
  await page.getByText('1 before').click();
  const before = page.getByRole('list', { name: 'What 1 named before' });
  await before.getByTitle(shownToo.manifest.digest).waitFor();
  await page.getByRole('button', { name: 'Pin docker.io/library/shown:1' }).click();
  await page.getByText('docker.io/library/shown:1 is pinned.').waitFor();
  await page.getByRole('button', { name: 'Unpin docker.io/library/shown:1' }).waitFor();

  assert.equal((await list(mirror, 'pins')).items.length, 1);
  assert.deepEqual(tab.complaints, []);
});

test(
  'the overview says first that an upstream is down, and when it is well again',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'chromium')) return;
    await using upstream = await startScriptedRegistry();
    upstream.add('library/shown', shownImage, '1');
    await using mirror = await startFor(upstream);
    await using tab = await openTab();
    const { page } = tab;
    await page.goto(mirror.adminUrl);
    await page.getByText('Nothing is wrong.').waitFor();

    await upstream.stop();
    const first = page.locator('main li').first();
    await until(
      'the breaker to open',
      async () => {
        await get(`${mirror.url}/v2/library/shown/manifests/1`);
        return (
          (await first.count()) === 1 && /Upstream docker\.io is down/.test(await first.innerText())
        );
      },
      { everyMs: 200, timeoutMs: 30_000 },
    );
    await upstream.restart();

    await until(
      'the upstream to be up',
      async () => {
        await get(`${mirror.url}/v2/library/shown/manifests/1`);
        return (await page.getByText('Upstream docker.io is down').count()) === 0;
      },
      { everyMs: 200, timeoutMs: 60_000 },
    );
    assert.deepEqual(tab.complaints, []);
  },
);

test('it says when the mirror is away, and goes on when it is back', { timeout }, async (t) => {
  if (!requireProgram(t, 'chromium')) return;
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFor(upstream);
  await using tab = await openTab();
  const { page } = tab;
  const lost = page.getByRole('alert').filter({ hasText: 'The mirror does not answer' });
  await page.goto(mirror.adminUrl);
  await page.getByText('Hit ratio').waitFor();
  assert.equal(await lost.count(), 0);

  await mirror.stop();
  await lost.waitFor();
  await mirror.restart();

  await lost.waitFor({ state: 'detached' });
});

test(
  'it is used by keyboard: a skip link first, the heading after a link',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'chromium')) return;
    await using upstream = await startScriptedRegistry();
    await using mirror = await startFor(upstream);
    await using tab = await openTab();
    const { page } = tab;
    await page.goto(mirror.adminUrl);
    await page.getByText('Hit ratio').waitFor();

    await page.keyboard.press('Tab');
    assert.equal(await focused(page), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.match(await focused(page), /^Overview/);
    await page.getByRole('link', { name: 'Jobs' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor();
    await until('the heading to be focused', async () => (await focused(page)) === 'Jobs');

    await page.getByLabel('Language').selectOption('zh');
    await page.getByRole('heading', { level: 1, name: '任务' }).waitFor();
    await page.getByLabel('配色').selectOption('dark');
    const ground = await page.evaluate(
      'getComputedStyle(document.documentElement).backgroundColor',
    );
    assert.equal(ground, 'rgb(16, 20, 22)');
    await page.reload();
    await page.getByRole('heading', { level: 1, name: '任务' }).waitFor();
  },
);

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startLine, type Line } from '../kit/line.ts';
import { SeededRandom } from '../kit/random.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { assertFilesAreTheirNames } from '../kit/store-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

interface Sites extends AsyncDisposable {
  readonly upstream: ScriptedRegistry;
  /** The mirror site's own upstream, which has nothing unless it is told. */
  readonly far: ScriptedRegistry;
  readonly primary: EntrepotProcess;
  readonly site: EntrepotProcess;
  readonly line: Line;
  readonly adminLine: Line;
}

/** A primary and a mirror site as processes, with a line between them. */
async function startSites(
  options: { rateBytesPerSecond?: number; rule?: Record<string, unknown> } = {},
): Promise<Sites> {
  const stack = new AsyncDisposableStack();
  const upstream = stack.use(await startScriptedRegistry());
  const far = stack.use(await startScriptedRegistry());
  const server = (url: string): Record<string, unknown> => ({
    log: { level: 'warn' },
    storage: { minFree: '0' },
    upstreams: { 'docker.io': { urls: [url] } },
  });
  const primary = stack.use(await startEntrepotProcess({ config: server(upstream.url) }));
  const line = stack.use(await startLine(primary.url, options));
  const adminLine = stack.use(await startLine(primary.adminUrl));
  const site = stack.use(
    await startEntrepotProcess({
      config: {
        ...server(far.url),
        site: {
          name: 'shanghai',
          primary: { url: line.url, admin: adminLine.url },
          sync: [{ name: 'all', repositories: ['docker.io/**'], ...options.rule }],
        },
      },
    }),
  );
  return {
    upstream,
    far,
    primary,
    site,
    line,
    adminLine,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function ask<T>(
  server: EntrepotProcess,
  path: string,
  method = 'GET',
  body?: unknown,
): Promise<T> {
  const answer = await fetch(`${server.adminUrl}/api/v1${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text) as T;
}

interface Rule {
  readonly state: string;
  readonly lagChanges: number | null;
  readonly lagSeconds: number | null;
  readonly undelivered: unknown[];
  readonly lastError: string | null;
}

async function ruleOf(site: EntrepotProcess): Promise<Rule> {
  const { items } = await ask<{ items: Rule[] }>(site, '/sync');
  return items[0]!;
}

async function tagsOf(site: EntrepotProcess): Promise<{ tag: string; digest: string }[]> {
  const path = '/repositories/docker.io%2Flibrary%2Fapp/tags?limit=1000';
  return (await ask<{ items: { tag: string; digest: string }[] }>(site, path)).items;
}

/** Has them pulled at a server, as clients would. */
async function bring(server: EntrepotProcess, tags: readonly string[]): Promise<void> {
  const images = tags.map((tag) => `docker.io/library/app:${tag}`);
  const { id } = await ask<{ id: string }>(server, '/prewarm', 'POST', { images });
  await until(
    'the images to be at the primary',
    async () => (await ask<{ state: string }>(server, `/runs/${id}`)).state === 'succeeded',
    { timeoutMs: 60_000 },
  );
}

async function untilEqual(site: EntrepotProcess, withinMs: number): Promise<void> {
  await until(
    'both sites to be equal, and the rule to know it',
    async () => {
      const { state, lagChanges } = await ruleOf(site);
      if (state !== 'ok' || lagChanges !== 0) return false;
      return (await ask<{ isEqual: boolean }>(site, '/sync/verify')).isEqual;
    },
    { timeoutMs: withinMs, everyMs: 500 },
  );
}

function addImages(upstream: ScriptedRegistry, count: number, layers: number[]): Image[] {
  return Array.from({ length: count }, (_, at) => {
    const image = makeImage({ seed: `sites ${at}`, layers });
    upstream.add('library/app', image, `v${at}`);
    return image;
  });
}

function bytesOf({ manifest, config, layers }: Image): number {
  const pieces = [manifest, config].concat(layers);
  return pieces.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

const tagNames = (count: number): string[] => Array.from({ length: count }, (_, at) => `v${at}`);

test('of 200 images 180 are there: hardly more than the missing bytes cross the line; idle, it is silent', async () => {
  await using sites = await startSites();
  const { upstream, primary, site, line, adminLine } = sites;
  addImages(upstream, 180, [20_000]);
  await bring(primary, tagNames(180));
  await untilEqual(site, 30_000);
  const missing = Array.from({ length: 20 }, (_, at) =>
    makeImage({ seed: `missing ${at}`, layers: [1_500_000, 1_500_000] }),
  );
  for (const [at, image] of missing.entries()) upstream.add('library/app', image, `new${at}`);
  const before = line.bytes + adminLine.bytes;

  await bring(
    primary,
    missing.map((_, at) => `new${at}`),
  );
  await until('all to be there', async () => (await tagsOf(site)).length === 200);
  const crossed = line.bytes + adminLine.bytes - before;

  const wanted = missing.reduce((sum, image) => sum + bytesOf(image), 0);
  assert.ok(crossed <= wanted * 1.02, `${crossed} bytes for ${wanted}`);
  await untilEqual(site, 10_000);
  const asked = adminLine.requests('/api/v1/changes');
  await sleep(3_000);
  assert.equal(adminLine.requests('/api/v1/changes'), asked, 'one question waits for 30 seconds');
  assert.equal(sites.far.requests.length, 0);
});

test('the line is cut for 10 s in the middle of a 500 MiB layer: it resumes', async () => {
  await using sites = await startSites({ rateBytesPerSecond: 120 * mib });
  const { upstream, primary, site, line } = sites;
  const [image] = addImages(upstream, 1, [500 * mib]);
  const layer = image!.layers[0]!.bytes.length;
  await bring(primary, ['v0']);
  await until('the middle of the layer', () => line.bytes > layer / 2, { timeoutMs: 60_000 });

  line.cut();
  await sleep(10_000);
  assert.ok((await ruleOf(site)).state !== 'ok');
  line.mend();
  await untilEqual(site, 60_000);

  assert.ok(line.bytes <= layer * 1.05, `${line.bytes} bytes for ${layer}`);
  const pulled = await get(`${site.url}/v2/app/blobs/${image!.layers[0]!.digest}`);
  assert.equal(pulled.digest, image!.layers[0]!.digest);
});

test('a corrupted line brings nothing wrong, and what failed comes when it is mended', async () => {
  await using sites = await startSites();
  const { upstream, primary, site, line, adminLine } = sites;
  line.corruptOneIn(300_000);
  adminLine.corruptOneIn(5_000);
  const images = addImages(upstream, 30, [200_000, 150_000]);
  await bring(primary, tagNames(30));
  await until('something to have failed', async () => {
    const { undelivered, lastError } = await ruleOf(site);
    return undelivered.length > 0 || lastError !== null;
  });

  for (const { tag, digest } of await tagsOf(site)) {
    assert.equal(digest, images[Number(tag.slice(1))]?.manifest.digest);
  }
  line.corruptOneIn(0);
  adminLine.corruptOneIn(0);
  await untilEqual(site, 60_000);
  await assertFilesAreTheirNames(site.storagePath);
  assert.equal((await tagsOf(site)).length, images.length);
});

test('the primary is gone: what is here is served, misses come from upstream; it is back: caught up by the feed', async () => {
  await using sites = await startSites();
  const { upstream, far, primary, site, adminLine } = sites;
  const images = addImages(upstream, 6, [100_000]);
  far.add('library/app', images[5]!, 'v5');
  await bring(primary, tagNames(3));
  await untilEqual(site, 20_000);
  const crawls = adminLine.requests('/api/v1/repositories?');

  await primary.kill();
  for (const image of images.slice(0, 3)) {
    const { status } = await get(`${site.url}/v2/app/manifests/${image.manifest.digest}`);
    assert.equal(status, 200);
  }
  const missed = await get(`${site.url}/v2/app/manifests/v5`);
  assert.equal(missed.status, 200);
  assert.equal((await get(`${site.url}/v2/app/blobs/${images[5]!.config.digest}`)).status, 200);
  await until('the rule to say it', async () => (await ruleOf(site)).state === 'failing');
  await primary.restart();
  await bring(primary, ['v3', 'v4']);
  await until('both to be here', async () => {
    const tags = new Set((await tagsOf(site)).map(({ tag }) => tag));
    return tags.has('v3') && tags.has('v4');
  });

  await untilEqual(site, 20_000);
  // Only `verify` lists what the primary has.
  const lists = adminLine.requests('/api/v1/repositories?') - crawls;
  assert.ok(lists <= 3, `${lists} lists of everything`);
});

test('killed 20 times on either side in a sync: a tag that is here is whole, and both end equal', async () => {
  const count = 80;
  await using sites = await startSites({ rateBytesPerSecond: 4 * mib });
  const { upstream, primary, site } = sites;
  const images = addImages(upstream, count, [200_000, 100_000]);
  const random = new SeededRandom('sites');
  await bring(primary, tagNames(count));
  const abort = new AbortController();
  let samples = 0;
  let tags: { tag: string }[] = [];
  const sampling = (async (): Promise<void> => {
    while (!abort.signal.aborted) {
      // The admin door answers so many questions a minute.
      if (samples % 10 === 0) tags = await tagsOf(site).catch(() => tags);
      if (tags.length === 0) {
        await sleep(200);
        continue;
      }
      const { tag } = random.pick(tags);
      const { config, layers } = images[Number(tag.slice(1))]!;
      const manifest = await get(`${site.url}/v2/app/manifests/${tag}`);
      samples += 1;
      // No answer: the site was killed.
      if (manifest.status !== 200) continue;
      for (const { digest } of [config, ...layers]) {
        const blob = await get(`${site.url}/v2/app/blobs/${digest}`);
        if (!blob.complete) continue;
        assert.equal(blob.status, 200, `${tag} resolves, ${digest} is ${blob.status}`);
        assert.equal(blob.digest, digest);
      }
    }
  })();

  try {
    for (let kill = 0; kill < 20; kill += 1) {
      await sleep(50 + random.below(500));
      const victim = random.pick([primary, site]);
      await victim.kill();
      await victim.restart();
    }
    await untilEqual(site, 90_000);
    await until('enough samples', () => samples >= 1_000, { timeoutMs: 60_000 });
  } finally {
    abort.abort();
    await sampling;
  }

  assert.equal((await tagsOf(site)).length, count);
  await assertFilesAreTheirNames(site.storagePath);
});

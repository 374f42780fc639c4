import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../../src/cli/program.ts';
import { goodCertificate, testKey } from '../kit/certificates.ts';
import { get } from '../kit/clients.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

interface SyncAnswer {
  readonly items: {
    name: string;
    state: string;
    lagChanges: number | null;
    lastError: string | null;
  }[];
}

async function api<T>(mirror: TestMirror, path: string, method = 'GET'): Promise<T> {
  const answer = await fetch(`${mirror.adminUrl}/api/v1${path}`, { method });
  const text = await answer.text();
  assert.ok(answer.status < 300, `${path}: ${answer.status} ${text}`);
  return JSON.parse(text) as T;
}

async function command(
  mirror: TestMirror,
  ...argv: string[]
): Promise<{ exitCode: number; out: string }> {
  let out = '';
  const exitCode = await runCli(argv, {
    env: { ENTREPOT_SERVER: mirror.adminUrl },
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (out += text) },
    serve: () => Promise.resolve(0),
  });
  return { exitCode, out };
}

function startSite(
  upstream: ScriptedRegistry,
  primary: { url: string; adminUrl?: string },
  rule: Record<string, unknown> = {},
): Promise<TestMirror> {
  return startMirror({
    upstream,
    config: {
      site: {
        name: 'shanghai',
        primary: {
          url: primary.url,
          ...(primary.adminUrl === undefined ? {} : { admin: primary.adminUrl }),
        },
        sync: [{ name: 'all', repositories: ['docker.io/**'], ...rule }],
      },
    },
  });
}

async function pull(
  mirror: TestMirror,
  name: string,
  tag: string,
  image: Image,
): Promise<string[]> {
  const caches: string[] = [];
  const manifest = await get(`${mirror.url}/v2/${name}/manifests/${tag}`);
  assert.equal(manifest.status, 200, `${name}:${tag}`);
  for (const { digest } of [image.config, ...image.layers]) {
    const blob = await get(`${mirror.url}/v2/${name}/blobs/${digest}`);
    assert.equal(blob.digest, digest);
    caches.push(String(blob.headers['x-cache']));
  }
  return caches;
}

async function lastError(site: TestMirror): Promise<string | null> {
  return (await api<SyncAnswer>(site, '/sync')).items[0]!.lastError;
}

function imageOf(seed: string): Image {
  return makeImage({ seed, layers: [60_000, 40_000] });
}

test('what is pulled at the primary is at the other site within seconds, without its upstream', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  await using site = await startSite(far, primary);
  const image = imageOf('one');
  for (const registry of [upstream, far]) registry.add('library/app', image, '1');

  await pull(primary, 'app', '1', image);
  const setMs = performance.now();
  await site.observed(
    'run-changed',
    ({ job, state }) => job === 'sync:all' && state === 'succeeded',
  );
  await until('the tag to be here', async () => {
    const { items } = await api<{ items: unknown[] }>(site, '/repositories');
    return items.length === 1;
  });

  assert.ok(performance.now() - setMs < 5_000);
  assert.deepEqual(await pull(site, 'app', '1', image), ['HIT', 'HIT', 'HIT']);
  assert.equal(far.requests.length, 0, 'nothing was asked of the upstream');
  assert.deepEqual(await api<unknown>(site, '/sync/verify'), {
    isEqual: true,
    items: [],
    next: null,
  });
  await until('the rule to be up to date', async () => {
    const { items } = await api<SyncAnswer>(site, '/sync');
    return items[0]?.state === 'ok' && items[0].lagChanges === 0;
  });
});

test('the feed tells in order what was set, completed and deleted, and waits when asked to', async () => {
  await using upstream = await startScriptedRegistry();
  await using primary = await startMirror({ upstream, settings: { tagTtl: '0s' } });
  const image = imageOf('one');
  upstream.add('library/app', image, '1');
  const waiting = api<{ items: { kind: string }[] }>(primary, '/changes?since=0&wait=30s');

  await pull(primary, 'app', '1', image);
  assert.equal((await waiting).items[0]?.kind, 'set');
  type Feed = {
    items: { seq: number; kind: string; repository: string; tag: string }[];
    latest: number;
  };
  await until('it to be complete', async () => {
    return (await api<Feed>(primary, '/changes?since=0')).latest === 2;
  });
  upstream.add('library/app', imageOf('two'), '1');
  await get(`${primary.url}/v2/app/manifests/1`);
  await until('the new one to be complete', async () => {
    return (await api<Feed>(primary, '/changes?since=0')).latest === 4;
  });

  const { items } = await api<Feed>(primary, '/changes?since=0');
  assert.deepEqual(
    items.map(({ kind, repository, tag }) => [kind, repository, tag]),
    ['set', 'complete', 'set', 'complete'].map((kind) => [kind, 'docker.io/library/app', '1']),
  );
  assert.deepEqual(
    items.map(({ seq }) => seq),
    [1, 2, 3, 4],
  );
  const beyond = await fetch(`${primary.adminUrl}/api/v1/changes?since=999`);
  assert.equal(beyond.status, 410);
  assert.match(await beyond.text(), /compare.*since=4/);
});

test('misses go to the primary first, and to the upstream when it is gone', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  const primary = await startMirror({ upstream });
  await using site = await startSite(far, primary, { repositories: ['docker.io/nothing/**'] });
  const [one, two] = [imageOf('one'), imageOf('two')];
  upstream.add('library/app', one, '1');
  for (const registry of [upstream, far]) registry.add('library/app', two, '2');

  await pull(site, 'app', '1', one);
  assert.equal(far.count({ kind: 'blob' }) + far.count({ kind: 'manifest' }), 0);

  await primary[Symbol.asyncDispose]();
  await pull(site, 'app', '2', two);
  assert.ok(far.count({ kind: 'blob' }) > 0);
  assert.deepEqual(await pull(site, 'app', '1', one), ['HIT', 'HIT', 'HIT']);
});

test('only what is missing crosses the line', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  const images = Array.from({ length: 10 }, (_, at) => imageOf(`image ${at}`));
  for (const [at, image] of images.entries()) {
    upstream.add('library/app', image, `v${at}`);
    if (at < 9) await pull(primary, 'app', `v${at}`, image);
  }
  await using site = await startSite(far, primary);
  await site.observed('run-changed', ({ state }) => state === 'succeeded');
  const before = site.observedOf('fill-committed').length;

  await pull(primary, 'app', 'v9', images[9]!);
  await until('the tenth to be here', async () => {
    const { items } = await api<{ items: unknown[] }>(
      site,
      '/repositories/docker.io%2Flibrary%2Fapp/tags',
    );
    return items.length === 10;
  });

  const fetched = site.observedOf('fill-committed').slice(before);
  assert.equal(fetched.length, 3);
  assert.deepEqual(await api<unknown>(site, '/sync/verify'), {
    isEqual: true,
    items: [],
    next: null,
  });
});

test('a rule chooses tags, and deletes what the primary has deleted when it is told to', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({ upstream, settings: { tagTtl: '0s', onGone: 'deny' } });
  const image = imageOf('one');
  for (const tag of ['v1', 'v2', 'v2-rc1', 'edge']) {
    upstream.add('library/app', image, tag);
    await pull(primary, 'app', tag, image);
  }
  await using site = await startSite(far, primary, {
    tags: { include: ['v*'], exclude: ['*-rc*'] },
    deletions: 'propagate',
  });
  const tags = async (): Promise<string[]> => {
    const { items } = await api<{ items: { tag: string }[] }>(
      site,
      '/repositories/docker.io%2Flibrary%2Fapp/tags',
    );
    return items.map(({ tag }) => tag);
  };
  await until('the tags to be here', async () => (await tags()).length === 2);
  assert.deepEqual(await tags(), ['v1', 'v2']);

  upstream.remove('library/app', 'v1');
  assert.equal((await get(`${primary.url}/v2/app/manifests/v1`)).status, 404);
  await until('v1 to be deleted here', async () => (await tags()).length === 1);
  assert.deepEqual(await tags(), ['v2']);
});

test('a primary that was away is caught up with, by the feed', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  const [one, two] = [imageOf('one'), imageOf('two')];
  upstream.add('library/app', one, '1');
  upstream.add('library/app', two, '2');
  await pull(primary, 'app', '1', one);
  await using site = await startSite(far, primary);
  await site.observed('run-changed', ({ state }) => state === 'succeeded');
  const runs = async (): Promise<number> =>
    (await api<{ items: unknown[] }>(site, '/runs')).items.length;
  const before = await runs();

  await site.restart();
  await pull(primary, 'app', '2', two);
  await until('the second to be here', async () => {
    const { items } = await api<{ items: unknown[] }>(
      site,
      '/repositories/docker.io%2Flibrary%2Fapp/tags',
    );
    return items.length === 2;
  });

  assert.ok((await runs()) > before);
  const { items } = await api<{ items: { trigger: string }[] }>(site, '/runs?limit=1');
  assert.equal(items[0]?.trigger, 'feed');
});

test('a plain registry is a primary, too: its tags are asked for', async () => {
  await using far = await startScriptedRegistry();
  const body = JSON.stringify({ repositories: ['library/app', 'team/tool', 'other/thing'] });
  await using registry = await startScriptedRegistry({
    rules: [{ when: { kind: 'catalog' }, do: { status: 200, body } }],
  });
  const [one, two] = [imageOf('one'), imageOf('two')];
  registry.add('library/app', one, 'v1');
  registry.add('team/tool', two, 'v2');
  await using site = await startSite(
    far,
    { url: registry.url },
    { repositories: ['docker.io/library/app', 'docker.io/team/**'] },
  );

  const started = await api<{ id: string }>(site, '/sync/all', 'POST');
  await site.observed('run-changed', ({ id, state }) => id === started.id && state === 'succeeded');

  assert.deepEqual(await pull(site, 'app', 'v1', one), ['HIT', 'HIT', 'HIT']);
  assert.deepEqual(await pull(site, 'team/tool', 'v2', two), ['HIT', 'HIT', 'HIT']);
  assert.equal(far.requests.length, 0);
  const answer = await fetch(`${site.adminUrl}/api/v1/sync/nothing`, { method: 'POST' });
  assert.equal(answer.status, 404);
});

test('of a catalog that cannot be read to its end, what is listed is copied, and the run says what is missing', async () => {
  await using far = await startScriptedRegistry();
  const page = {
    status: 200,
    body: JSON.stringify({ repositories: ['team/tool'] }),
    headers: { link: '</v2/_catalog?last=team%2Ftool>; rel="next"' },
  };
  await using registry = await startScriptedRegistry({
    rules: [
      { when: { kind: 'catalog' }, times: 1, do: page },
      { when: { kind: 'catalog' }, do: { status: 403 } },
    ],
  });
  const image = imageOf('one');
  registry.add('team/tool', image, 'v1');
  const rule = { repositories: ['docker.io/team/**'] };
  await using site = await startSite(far, { url: registry.url }, rule);

  const { id } = await api<{ id: string }>(site, '/sync/all', 'POST');
  const ends = new Set(['succeeded', 'partial', 'failed']);
  const run = await site.observed('run-changed', (one) => one.id === id && ends.has(one.state));

  assert.equal(run.state, 'failed');
  assert.deepEqual(await pull(site, 'team/tool', 'v1', image), ['HIT', 'HIT', 'HIT']);
  assert.match((await lastError(site)) ?? '', /the catalog is incomplete: page 2 of it cannot/);
});

test('between sites: token, TLS and certificates on both sides', async () => {
  await using folder = await temporaryFolder();
  const write = async (name: string, text: string): Promise<string> => {
    const path = join(folder.path, name);
    await writeFile(path, text);
    return path;
  };
  const cert = await write('cert', goodCertificate);
  const key = await write('key', testKey);
  const token = { file: await write('token', 'a-token-of-32-characters-or-more!') };
  const tls = { cert, key, clientCa: cert };
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({
    upstream,
    config: {
      registry: { listen: '127.0.0.1:0', tls },
      admin: { listen: '127.0.0.1:0', tls, token },
    },
  });
  const image = imageOf('one');
  upstream.add('library/app', image, '1');
  const start = (about: Record<string, unknown>): Promise<TestMirror> =>
    startMirror({
      upstream: far,
      config: {
        site: {
          name: 'shanghai',
          primary: { url: primary.url, admin: primary.adminUrl, ...about },
          sync: [{ name: 'all', repositories: ['docker.io/**'] }],
        },
      },
    });

  await using stranger = await start({ tls: { ca: cert } });
  await until('a site without certificate to say so', async () =>
    /does not answer/.test((await lastError(stranger)) ?? ''),
  );
  await using forgetful = await start({ tls: { ca: cert, cert, key } });
  await until('a site without token to say so', async () =>
    /refuses us \(401\); check site\.primary\.token/.test((await lastError(forgetful)) ?? ''),
  );
  await using site = await start({ tls: { ca: cert, cert, key }, token });
  await pullTls(primary, 'app', image);
  await until('the image to be here', async () => {
    const path = '/repositories/docker.io%2Flibrary%2Fapp/tags';
    return (await api<{ items: unknown[] }>(site, path)).items.length === 1;
  });

  assert.deepEqual(await pull(site, 'app', '1', image), ['HIT', 'HIT', 'HIT']);
  assert.equal(far.requests.length, 0);
});

/** As a client that shows a certificate. */
async function pullTls(mirror: TestMirror, name: string, image: Image): Promise<void> {
  const tls = { ca: goodCertificate, cert: goodCertificate, key: testKey };
  await get(`${mirror.url}/v2/${name}/manifests/1`, { tls });
  for (const { digest } of [image.config, ...image.layers]) {
    const blob = await get(`${mirror.url}/v2/${name}/blobs/${digest}`, { tls });
    assert.equal(blob.digest, digest);
  }
}

test('verify lists what differs', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  await using site = await startSite(far, primary, { follow: false });
  const image = imageOf('one');
  upstream.add('library/app', image, '1');
  await pull(primary, 'app', '1', image);

  const { isEqual, items } = await api<{ isEqual: boolean; items: unknown[] }>(
    site,
    '/sync/verify',
  );

  assert.equal(isEqual, false);
  const compared = await command(site, 'sync', 'verify');
  assert.deepEqual(
    [compared.exitCode, /docker\.io\/library\/app:1 +nothing/.test(compared.out)],
    [1, true],
  );
  assert.match((await command(site, 'sync', 'status')).out, /all +from the primary +unknown/);
  assert.deepEqual(items, [
    {
      rule: 'all',
      repository: 'docker.io/library/app',
      tag: '1',
      here: null,
      there: image.manifest.digest,
    },
  ]);

  const dry = await command(site, 'sync', '--dry-run');
  assert.match(dry.out, /3 blobs with \d+ bytes would be fetched/);
  assert.equal((await command(site, 'sync', 'all')).exitCode, 0);
  assert.deepEqual(
    [(await command(site, 'sync', 'verify')).out, (await command(site, 'sync', 'status')).exitCode],
    ['Both sides are equal.\n', 0],
  );
});

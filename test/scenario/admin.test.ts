import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ClientConfig } from '../../src/api/clients.ts';
import type { Stats } from '../../src/api/stats.ts';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'admin', layers: [50_000, 60_000] });

async function ask(mirror: TestMirror, path: string, init: RequestInit = {}): Promise<Response> {
  return await fetch(`${mirror.adminUrl}${path}`, init);
}

async function json<T>(mirror: TestMirror, path: string): Promise<T> {
  const answer = await ask(mirror, path);
  assert.equal(answer.status, 200, path);
  return (await answer.json()) as T;
}

async function pull(mirror: TestMirror): Promise<void> {
  await get(`${mirror.url}/v2/app/manifests/1`);
  for (const { digest } of [image.config, ...image.layers]) {
    await get(`${mirror.url}/v2/app/blobs/${digest}`);
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }
}

test('what was served, fetched and saved is told, by upstream and kind', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  upstream.add('library/app', image, '1');
  await pull(mirror);
  await pull(mirror);

  const stats = await json<{
    requests: Record<string, number>;
    byUpstream: Record<string, unknown>[];
    bytes: Record<'served' | 'fetched' | 'saved', number>;
    quotaRequestsSaved: number;
    topImages: { repository: string; pulls: number }[];
    upstreams: { name: string; state: string }[];
    disk: { usedBytes: number; blobs: number; tiers: Record<string, unknown>[] };
  }>(mirror, '/api/v1/stats');

  const blobs = [image.config, ...image.layers].reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert.equal(stats.requests['total'], 8);
  assert.deepEqual(
    stats.byUpstream.find(({ kind }) => kind === 'blob'),
    {
      upstream: 'docker.io',
      kind: 'blob',
      hits: 3,
      misses: 3,
      joined: 0,
      revalidated: 0,
      stale: 0,
      errors: 0,
    },
  );
  assert.equal(stats.bytes.fetched, blobs);
  assert.equal(stats.bytes.served, 2 * (blobs + image.manifest.bytes.length));
  assert.equal(stats.bytes.saved, stats.bytes.served - stats.bytes.fetched);
  assert.equal(stats.quotaRequestsSaved, 1);
  assert.deepEqual(
    stats.topImages.map(({ repository, pulls }) => [repository, pulls]),
    [['docker.io/library/app', 2]],
  );
  assert.equal(stats.upstreams[0]?.state, 'up');
  assert.ok(stats.disk.usedBytes >= blobs);
  const { tiers, usedBytes } = stats.disk;
  const budget = 50 * 1024 ** 3;
  assert.deepEqual(tiers, [
    { name: 'small', usedBytes, maxBytes: Math.floor(budget * 0.02), blobs: stats.disk.blobs },
    { name: 'large', usedBytes: 0, maxBytes: budget - Math.floor(budget * 0.02), blobs: 0 },
  ]);

  const metrics = await (await ask(mirror, '/metrics')).text();
  assert.match(
    metrics,
    /entrepot_requests_total\{upstream="docker\.io",kind="blob",outcome="hits"\} 3/,
  );
  assert.match(metrics, new RegExp(`entrepot_fetched_bytes_total ${blobs}`));
  const { points } = await json<{ points: { requests: number }[] }>(
    mirror,
    '/api/v1/stats/history?window=1h',
  );
  assert.equal(
    points.reduce((sum, { requests }) => sum + requests, 0),
    8,
  );
});

test('what is cached is listed: repositories, tags, manifests, blobs, page by page', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  for (const tag of ['1', '2', '3']) upstream.add('library/app', image, tag);
  upstream.add('library/other', image, '1');
  await pull(mirror);
  for (const path of ['app/manifests/2', 'app/manifests/3', 'other/manifests/1']) {
    assert.equal((await get(`${mirror.url}/v2/${path}`)).status, 200);
  }

  const repositories = await json<{ items: { name: string; tags: number }[]; next: string | null }>(
    mirror,
    '/api/v1/repositories?limit=1',
  );
  assert.deepEqual(repositories.items, [
    { name: 'docker.io/library/app', upstream: 'docker.io', tags: 3 },
  ]);
  const rest = await json<typeof repositories>(
    mirror,
    `/api/v1/repositories?after=${encodeURIComponent(repositories.next ?? '')}`,
  );
  assert.deepEqual(
    [rest.items.map(({ name }) => name), rest.next],
    [['docker.io/library/other'], null],
  );
  const found = await json<typeof repositories>(mirror, '/api/v1/repositories?search=OTHER');
  assert.equal(found.items.length, 1);

  const tags = await json<{ items: { tag: string; digest: string; history: unknown[] }[] }>(
    mirror,
    '/api/v1/repositories/docker.io%2Flibrary%2Fapp/tags',
  );
  assert.deepEqual(
    tags.items.map(({ tag, digest, history }) => [tag, digest, history.length]),
    ['1', '2', '3'].map((tag) => [tag, image.manifest.digest, 1]),
  );

  const manifest = await json<{ kind: string; isComplete: boolean; blobs: { digest: string }[] }>(
    mirror,
    `/api/v1/manifests/${image.manifest.digest}`,
  );
  assert.deepEqual(
    [manifest.kind, manifest.isComplete, manifest.blobs.map(({ digest }) => digest)],
    ['image', true, [image.config, ...image.layers].map(({ digest }) => digest)],
  );

  const seen: string[] = [];
  for (let after = ''; ;) {
    const page = await json<{ items: { digest: string }[]; next: string | null }>(
      mirror,
      `/api/v1/blobs?limit=2&after=${after}`,
    );
    seen.push(...page.items.map(({ digest }) => digest));
    if (page.next === null) break;
    after = page.next;
  }
  const pieces = [image.manifest, image.config, ...image.layers];
  assert.deepEqual(seen, pieces.map(({ digest }) => digest).sort());
});

test('bad input is refused with a reason; what is not there is 404', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const wrong: [path: string, status: number][] = [
    ['/api/v1/blobs?limit=0', 400],
    ['/api/v1/blobs?limit=many', 400],
    ['/api/v1/manifests/sha256:abc', 400],
    [`/api/v1/manifests/sha256:${'0'.repeat(64)}`, 404],
    ['/api/v1/repositories/nginx/tags', 400],
    ['/api/v1/repositories/docker.io%2F..%2Fetc/tags', 400],
    ['/api/v1/stats/history?window=forever', 400],
    ['/api/v1/nothing', 404],
  ];
  for (const [path, status] of wrong) {
    const answer = await ask(mirror, path);
    const problem = (await answer.json()) as { title: string; status: number };
    assert.deepEqual([answer.status, problem.status], [status, status], path);
    assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/);
    assert.ok(problem.title.length > 10, path);
  }
  const put = await ask(mirror, '/api/v1/log-level', {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"level":"loud"}',
  });
  assert.equal(put.status, 400);
  assert.match(await put.text(), /level/);
});

test('the token opens what holds data; without one, other sites and other names do not', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'token');
  await writeFile(file, 'open-sesame\n');
  await using upstream = await startScriptedRegistry();
  await using guarded = await startMirror({
    upstream,
    config: { admin: { listen: '127.0.0.1:0', token: { file } } },
  });
  const withToken = (token: string): RequestInit => ({
    headers: { authorization: `Bearer ${token}` },
  });

  assert.equal((await ask(guarded, '/livez')).status, 200);
  assert.equal((await ask(guarded, '/readyz')).status, 200);
  for (const path of ['/api/v1/stats', '/metrics', '/openapi.json', '/api/v1/events']) {
    assert.equal((await ask(guarded, path)).status, 401, path);
    assert.equal((await ask(guarded, path, withToken('open-sesam'))).status, 401, path);
  }
  assert.equal((await ask(guarded, '/api/v1/stats', withToken('open-sesame'))).status, 200);
  const config = await (await ask(guarded, '/api/v1/config', withToken('open-sesame'))).text();
  assert.equal(config.includes('open-sesame'), false);

  await using open = await startMirror({ upstream });
  const foreign = await ask(open, '/api/v1/stats', { headers: { origin: 'https://evil.example' } });
  assert.equal(foreign.status, 403);
  const rebound = await get(`${open.adminUrl}/api/v1/stats`, { headers: { host: 'evil.example' } });
  assert.equal(rebound.status, 403);
});

test('events are streamed as they happen', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  const leave = new AbortController();
  const stream = await ask(mirror, '/api/v1/events', { signal: leave.signal });
  assert.equal(stream.headers.get('content-type'), 'text/event-stream');

  await get(`${mirror.url}/v2/app/manifests/1`);

  let text = '';
  for await (const chunk of stream.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes('event: request')) break;
  }
  assert.match(text, /event: request\ndata: \{.*"repository":"docker\.io\/library\/app"/);
  leave.abort();
});

test('the files of clients name the mirror as they reach it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });

  const asReached = await json<ClientConfig>(mirror, '/api/v1/client-config/docker');
  const asTold = await json<ClientConfig>(
    mirror,
    '/api/v1/client-config/podman?mirror=https%3A%2F%2Fmirror.example',
  );

  assert.equal(asReached.mirror, mirror.url);
  assert.match(asReached.files[0]!.text, new RegExp(`"${mirror.url}"`));
  assert.match(asTold.files[0]!.text, /location = "mirror\.example\/docker\.io"\ninsecure = false/);
  assert.equal((await ask(mirror, '/api/v1/client-config/emacs')).status, 400);
  const bad = await ask(mirror, '/api/v1/client-config/docker?mirror=nowhere');
  assert.equal(bad.status, 400);
  assert.match(await bad.text(), /«nowhere» is no address/);
});

test('what flows is counted as it flows, and told once a second', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { connectionsPerBlob: 1 } });
  const blob = makeBlob('flowing', 4_000_000);
  upstream.addBlob('library/app', blob);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  upstream.script({
    when: { kind: 'blob' },
    do: { stall: { afterBytes: 2_000_000, until: held } },
  });
  const leave = new AbortController();
  const stream = await ask(mirror, '/api/v1/stats/events', { signal: leave.signal });
  const pulling = get(`${mirror.url}/v2/app/blobs/${blob.digest}`);

  const told: { served: number; fetched: number; fills: number }[] = [];
  let rest = '';
  for await (const chunk of stream.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks.filter((one) => one.startsWith('event: stats'))) {
      const { bytes, fills } = JSON.parse(block.slice(block.indexOf('{'))) as Stats;
      told.push({ served: bytes.served, fetched: bytes.fetched, fills: fills.length });
    }
    if ((told.at(-1)?.served ?? 0) > 0) release();
    if (told.at(-1)?.served === blob.bytes.length) break;
  }
  leave.abort();

  assert.equal((await pulling).digest, blob.digest);
  const during = told.find(({ served }) => served > 0)!;
  assert.ok(during.served < blob.bytes.length, `${during.served}`);
  assert.ok(during.fetched >= during.served && during.fetched < blob.bytes.length);
  assert.equal(during.fills, 1);
  assert.equal(told.at(-1)?.fetched, blob.bytes.length);
});

test('the API describes itself: every path of DESIGN’s that exists, and each GET answers by its schema', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await pull(mirror);

  const description = await json<{
    openapi: string;
    paths: Record<string, Record<string, { parameters?: { name: string; in: string }[] }>>;
  }>(mirror, '/openapi.json');

  assert.equal(description.openapi, '3.1.0');
  const values: Record<string, string> = {
    name: 'docker.io%2Flibrary%2Fapp',
    digest: image.manifest.digest,
  };
  let asked = 0;
  for (const [path, methods] of Object.entries(description.paths)) {
    if (methods['get'] === undefined || path.endsWith('/events')) continue;
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? 'unknown');
    const answer = await ask(mirror, filled);
    // What does not fit its schema is a 500.
    assert.ok(answer.status < 500, `${path}: ${answer.status} ${await answer.text()}`);
    asked += 1;
  }
  assert.ok(asked >= 10, `${asked} paths`);
  assert.equal((await ask(mirror, '/docs/')).status, 200);
});

test('whoever tries out admin tokens is refused after a while; what a web page sends uses up nothing', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream,
    config: { admin: { listen: '127.0.0.1:0', token: { env: 'ADMIN_TOKEN' } } },
    env: { ADMIN_TOKEN: 'the-right-one' },
  });
  using agent = Object.assign(new Agent({ keepAlive: true, maxSockets: 20 }), {
    [Symbol.dispose]: () => agent.destroy(),
  });
  const stats = `${mirror.adminUrl}/api/v1/stats`;
  const statuses = async (count: number, headers: Record<string, string>): Promise<number[]> => {
    const asked = Array.from({ length: count }, () => get(stats, { agent, headers }));
    return (await Promise.all(asked)).map(({ status }) => status);
  };

  const ofPage = await statuses(3_100, { origin: 'https://evil.example' });
  const tried = await statuses(3_100, { authorization: 'Bearer guessed' });

  assert.equal(ofPage.filter((status) => status === 403).length, 3_100);
  assert.equal(tried.filter((status) => status === 401).length, 3_000);
  assert.equal(tried.filter((status) => status === 429).length, 100);
});

test('the hit ratio is of manifests and blobs; what was saved of the quota never falls', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  upstream.add('library/app', image, '1');
  const others = Array.from({ length: 5 }, (_, at) =>
    makeImage({ seed: `other ${at}`, layers: [100] }),
  );
  others.forEach((other, at) => upstream.add('library/other', other, String(at)));
  await pull(mirror);
  await pull(mirror);
  await get(`${mirror.url}/v2/app/tags/list`);

  const before = await json<Stats>(mirror, '/api/v1/stats');
  const run = await ask(mirror, '/api/v1/prewarm', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ images: others.map((_, at) => `other:${at}`) }),
  });
  assert.equal(run.status, 202);
  await mirror.observed('run-changed', ({ state }) => state === 'succeeded');
  const after = await json<Stats>(mirror, '/api/v1/stats');

  assert.deepEqual([before.hitRatio, before.quotaRequestsSaved], [0.5, 1]);
  assert.deepEqual([after.hitRatio, after.quotaRequestsSaved], [0.5, 1]);
});

test('HEAD of a stream of events ends at once, and its connection is there for the next request', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });

  const head = await get(`${mirror.adminUrl}/api/v1/events`, { method: 'HEAD', agent });
  const next = await get(`${mirror.adminUrl}/livez`, {
    agent,
    signal: AbortSignal.timeout(5_000),
  });
  agent.destroy();

  assert.deepEqual([head.status, head.headers['content-type']], [200, 'text/event-stream']);
  assert.equal(next.status, 200);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

/** A copy is at hand, and upstream is asked whether it is still right: how long anybody waits for that. */

const before = makeImage({ seed: 'before', layers: [1_000] });
const after = makeImage({ seed: 'after', layers: [1_000] });
const never = new Promise<never>(() => {});

/** A mirror that holds the image under each of the tags, about which it asks at each request. */
async function startAsking(
  upstream: ScriptedRegistry,
  tags: string[],
  revalidate = '300ms',
): Promise<TestMirror> {
  const settings = { tagTtl: '0', timeouts: { revalidate } };
  const mirror = await startMirror({ upstream, settings });
  for (const tag of tags) {
    upstream.add('library/app', before, tag);
    await get(`${mirror.url}/v2/library/app/manifests/${tag}`);
  }
  for (const { digest } of tags.length === 0 ? [] : [before.config, ...before.layers]) {
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }
  return mirror;
}

test('while one tag hangs, another one that moves is noticed, however far upstream is', async () => {
  await using upstream = await startScriptedRegistry({ latencyMs: 100 });
  await using mirror = await startAsking(upstream, ['hung', 'moving']);
  const url = `${mirror.url}/v2/library/app/manifests`;
  upstream.script({ when: { reference: 'hung' }, do: { holdUntil: never } });
  const late = await get(`${url}/hung`);
  upstream.add('library/app', after, 'moving');

  await get(`${url}/moving`);
  const moved = await until('the tag to move', async () => {
    const answer = await get(`${url}/moving`);
    return answer.digest === after.manifest.digest ? answer : undefined;
  });
  const again = await get(`${url}/moving`);

  assert.equal(late.headers['x-cache'], 'STALE');
  assert.equal(moved.status, 200);
  assert.equal(again.headers['x-cache'], 'REVALIDATED');
});

test('a tag that has moved to what does not come: the copy, after the wait, then at once', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startAsking(upstream, ['1']);
  upstream.add('library/app', after, '1');
  const hang = { method: 'GET', kind: 'manifest' as const };
  upstream.script({ when: hang, do: { holdUntil: never } });

  const answers = [];
  for (let asked = 0; asked < 3; asked += 1) {
    answers.push(await get(`${mirror.url}/v2/library/app/manifests/1`));
  }

  for (const answer of answers) {
    assert.equal(answer.headers['x-cache'], 'STALE');
    assert.equal(answer.digest, before.manifest.digest);
  }
  const [first, ...others] = answers.map(({ totalMs }) => totalMs);
  assert.ok(first! < 1_000, `${first} ms`);
  assert.ok(
    others.every((ms) => ms < 250),
    `${others.join(', ')} ms`,
  );
});

test('a tag that moves is followed at last, also where upstream takes longer than anybody waits', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startAsking(upstream, ['1']);
  upstream.add('library/app', after, '1');
  upstream.script({ when: { method: 'HEAD' }, do: { delayMs: 600 } });

  const url = `${mirror.url}/v2/library/app/manifests/1`;
  const first = await get(url);
  await until('the tag to move', async () => (await get(url)).digest === after.manifest.digest);

  assert.equal(first.headers['x-cache'], 'STALE');
});

test('who asks by HEAD together for what is not here costs upstream one question', async () => {
  await using upstream = await startScriptedRegistry({ latencyMs: 100 });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', before, '1');
  const blob = makeBlob('asked for', 1_000);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/library/app`;
  const paths = [`manifests/${before.manifest.digest}`, `blobs/${blob.digest}`];

  for (const path of paths) {
    const heads = Array.from({ length: 20 }, () => get(`${url}/${path}`, { method: 'HEAD' }));
    const statuses = (await Promise.all(heads)).map(({ status }) => status);

    assert.deepEqual(new Set(statuses), new Set([200]));
    assert.equal(upstream.count({ method: 'HEAD' }), 1, path);
    upstream.requests.length = 0;
  }
});

test('many tags that hang leave connections to who has no copy', async () => {
  const tags = Array.from({ length: 8 }, (_, at) => `hung-${at}`);
  await using upstream = await startScriptedRegistry();
  await using mirror = await startAsking(upstream, tags, '1200ms');
  const url = `${mirror.url}/v2/library/app/manifests`;
  for (const reference of tags) upstream.script({ when: { reference }, do: { holdUntil: never } });
  const answers = await Promise.all(tags.map((tag) => get(`${url}/${tag}`)));
  upstream.add('library/other', after, '1');

  const cold = await get(`${mirror.url}/v2/library/other/manifests/1`);

  assert.ok(answers.every(({ headers }) => headers['x-cache'] === 'STALE'));
  assert.equal(cold.digest, after.manifest.digest);
  assert.ok(cold.totalMs < 2_000, `${cold.totalMs} ms`);
});

for (const dropHeaders of [[], ['docker-content-digest']]) {
  const says = dropHeaders.length === 0 ? 'says' : 'does not say';

  test(`many tags that have moved to what does not come leave connections, where HEAD ${says} to what`, async () => {
    const tags = Array.from({ length: 8 }, (_, at) => `moved-${at}`);
    await using upstream = await startScriptedRegistry();
    await using mirror = await startAsking(upstream, tags, '1200ms');
    const url = `${mirror.url}/v2/library/app/manifests`;
    const ofTags = { kind: 'manifest', repository: 'library/app' } as const;
    for (const tag of tags) {
      upstream.add('library/app', makeImage({ seed: tag, layers: [1_000] }), tag);
    }
    upstream.script(
      { when: { ...ofTags, method: 'GET' }, do: { holdUntil: never } },
      { when: ofTags, do: { dropHeaders } },
    );
    const answers = await Promise.all(tags.map((tag) => get(`${url}/${tag}`)));
    upstream.add('library/other', after, '1');

    const cold = await get(`${mirror.url}/v2/library/other/manifests/1`);

    assert.ok(answers.every(({ headers }) => headers['x-cache'] === 'STALE'));
    assert.equal(cold.digest, after.manifest.digest);
    assert.ok(cold.totalMs < 2_000, `${cold.totalMs} ms`);
  });
}

for (const kind of ['tags', 'referrers'] as const) {
  test(`a list of ${kind} that is slow shuts off nothing else, and comes at last`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startAsking(upstream, ['1']);
    const list = kind === 'tags' ? 'tags/list' : `referrers/${before.manifest.digest}`;
    const url = `${mirror.url}/v2/library/app/${list}`;
    await get(url);
    upstream.add('library/other', after, '1');
    upstream.script({ when: { kind }, do: { delayMs: 2_500 } });

    const stale = await get(url);
    const again = await get(url);
    await mirror.observed(
      'upstream-answered',
      ({ what, durationMs }) => what === kind && durationMs > 2_000,
    );
    const cold = await get(`${mirror.url}/v2/library/other/manifests/1`);

    for (const { headers, totalMs } of [stale, again]) {
      assert.equal(headers['x-cache'], 'STALE');
      assert.ok(totalMs < 1_500, `${totalMs} ms`);
    }
    assert.equal(cold.digest, after.manifest.digest);
    assert.deepEqual(mirror.observedOf('breaker-changed'), []);
  });
}

test('many lists that hang leave connections to who has no copy', async () => {
  const names = Array.from({ length: 8 }, (_, at) => `library/listed-${at}`);
  await using upstream = await startScriptedRegistry();
  await using mirror = await startAsking(upstream, []);
  const lists = names.map((name) => `${mirror.url}/v2/${name}/tags/list`);
  for (const name of names) upstream.add(name, before, '1');
  await Promise.all(lists.map((url) => get(url)));
  upstream.script({ when: { kind: 'tags' }, do: { holdUntil: never } });
  const answers = await Promise.all(lists.map((url) => get(url)));
  upstream.add('library/other', after, '1');

  const cold = await get(`${mirror.url}/v2/library/other/manifests/1`);

  assert.ok(answers.every(({ headers }) => headers['x-cache'] === 'STALE'));
  assert.equal(cold.digest, after.manifest.digest);
  assert.ok(cold.totalMs < 2_000, `${cold.totalMs} ms`);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get, type Answer } from '../kit/clients.ts';
import type { Rule } from '../kit/faults.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { api, ended, type RunAnswer } from '../kit/runs.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const image = makeImage({ seed: 'lists', layers: [100] });

function addTags(registry: ScriptedRegistry, repository: string, ...tags: string[]): void {
  for (const tag of tags) registry.add(repository, image, tag);
}

/** The first page is `tags`, and names another one in that header; the next pages are right. */
function firstPage(tags: string[], link: string): Rule {
  return {
    when: { kind: 'tags' },
    times: 1,
    do: { status: 200, headers: { link }, body: JSON.stringify({ name: 'x', tags }) },
  };
}

function tagsIn(answer: Answer): string[] {
  return (JSON.parse(answer.body.toString()) as { tags: string[] }).tags;
}

const path = '/v2/library/app/tags/list';

test('a list is read where a redirect leads, though that drops the query, as at registry.k8s.io', async () => {
  await using regional = await startScriptedRegistry({
    rules: [firstPage(['a', 'b'], '</v2/images/tags/list?n=2&last=b>; rel="next"')],
  });
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer' },
    rules: [
      {
        when: { kind: 'tags' },
        do: { redirectTo: `${regional.url}/v2/images/library/app/tags/list` },
      },
    ],
  });
  await using mirror = await startMirror({
    upstream,
    settings: { redirectHosts: [regional.host] },
  });
  addTags(regional, 'images/library/app', 'a', 'b', 'c', 'd', 'e');

  const answer = await get(mirror.url + path);

  assert.deepEqual(tagsIn(answer), ['a', 'b', 'c', 'd', 'e']);
  assert.equal(answer.headers['warning'], undefined);
  assert.ok(regional.requests.every(({ headers }) => headers.authorization === undefined));
});

test('a link to another host, scheme or path is asked of the registry, and nobody else', async () => {
  await using other = await startScriptedRegistry();
  for (const place of [
    `${other.url}/v2/library/app/tags/list`,
    'https://inside.example:8443/v2/library/app/tags/list',
    '/artifactory/api/docker/hub/v2/app/tags/list',
    '/library/app/tags/list',
  ]) {
    await using upstream = await startScriptedRegistry({
      auth: { kind: 'bearer' },
      rules: [firstPage(['a', 'b'], `<${place}?last=b&n=2>; title="a, b"; rel='next'`)],
    });
    await using mirror = await startMirror({ upstream });
    addTags(upstream, 'library/app', 'a', 'b', 'c', 'd', 'e');

    const answer = await get(mirror.url + path);

    assert.deepEqual(tagsIn(answer), ['a', 'b', 'c', 'd', 'e'], place);
    assert.equal(answer.headers['warning'], undefined);
    const asked = upstream.matching({ kind: 'tags' }).filter(({ status }) => status === 200);
    assert.deepEqual(
      asked.map((request) => request.path.split('?')[1]),
      ['n=1000', 'last=b&n=2', 'n=2&last=d'],
    );
  }
  assert.equal(other.requests.length, 0);
});

for (const [what, link, next] of [
  ['has no query', '</v2/library/app/tags/list>; rel="next"', 200],
  ['cannot be read', '</v2/library/app/tags/list?last=b; rel="next"', 200],
  ['is not there', '<?last=b>; rel="next"', 404],
  ['is refused', '<?last=b>; rel="next"', 403],
] as const) {
  test(`a list whose next page ${what} is answered with a warning, and never taken for whole`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
    addTags(upstream, 'library/app', 'a', 'b', 'c');
    const whole = await get(mirror.url + path);
    upstream.script(firstPage(['a', 'b'], link), { when: { kind: 'tags' }, do: { status: next } });

    const part = await get(mirror.url + path);
    await upstream.stop();
    const stale = await get(mirror.url + path);

    assert.deepEqual([whole.status, whole.headers['warning']], [200, undefined]);
    assert.equal(part.status, 200);
    assert.deepEqual(tagsIn(part), ['a', 'b']);
    assert.match(String(part.headers['warning']), /^299 - "this list is incomplete: /);
    assert.deepEqual(tagsIn(stale), ['a', 'b', 'c']);
    assert.equal(stale.headers['x-cache'], 'STALE');
  });
}

test('a warning stays with an incomplete list as long as that is kept', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [firstPage(['a', 'b'], '</v2/library/app/tags/list>; rel="next"')],
  });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '1h' } });

  await get(mirror.url + path);
  const again = await get(mirror.url + path);

  assert.equal(again.headers['x-cache'], 'HIT');
  assert.match(String(again.headers['warning']), /incomplete/);
});

test('an outage in the middle of a list is one: 503, or the last list', async () => {
  const cut: Rule[] = [
    firstPage(['a', 'b'], '<?last=b>; rel="next"'),
    { when: { kind: 'tags' }, do: { status: 500 } },
  ];
  await using upstream = await startScriptedRegistry({ rules: cut });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  addTags(upstream, 'library/app', 'a', 'b', 'c');

  const failed = await get(mirror.url + path);
  upstream.clearScript();
  const whole = await get(mirror.url + path);
  upstream.script(...cut);
  const stale = await get(mirror.url + path);

  assert.deepEqual([failed.status, whole.status, stale.status], [503, 200, 200]);
  assert.deepEqual(tagsIn(stale), ['a', 'b', 'c']);
  assert.equal(stale.headers['x-cache'], 'STALE');
});

test('what came of a long list in time is answered with a warning; the rest comes for the next client', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'tags' }, do: { delayMs: 450 } }],
  });
  await using mirror = await startMirror({ upstream, settings: { timeouts: { headers: '1s' } } });
  const tags = Array.from({ length: 2_500 }, (_, at) => `v${10_000 + at}`);
  addTags(upstream, 'library/app', ...tags);

  const early = await get(`${mirror.url}${path}?n=5`);
  const late = await until('the whole list', async () => {
    const answer = await get(mirror.url + path);
    return answer.headers['warning'] === undefined && answer;
  });

  assert.equal(early.status, 200);
  assert.deepEqual(tagsIn(early), tags.slice(0, 5));
  assert.match(String(early.headers['warning']), /incomplete.* has not sent all of it yet/);
  assert.ok(early.totalMs < 1_300, `${early.totalMs} ms`);
  assert.deepEqual(tagsIn(late), tags);
  assert.equal(upstream.count({ kind: 'tags' }), 3);
});

test('a registry that takes no page of 1,000 tags is asked for its own size', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'tags' }, times: 1, do: { status: 400 } }],
  });
  await using mirror = await startMirror({ upstream });
  addTags(upstream, 'library/app', 'a', 'b');

  const answer = await get(mirror.url + path);

  assert.deepEqual(tagsIn(answer), ['a', 'b']);
  assert.deepEqual(
    upstream.matching({ kind: 'tags' }).map((request) => request.path),
    [`${path}?n=1000`, path],
  );
});

test('what an incomplete list leaves out is not deleted at a mirror site', async () => {
  await using far = await startScriptedRegistry();
  await using primary = await startScriptedRegistry();
  addTags(primary, 'library/app', 'a', 'b');
  const sync = [{ name: 'all', repositories: ['docker.io/library/app'], deletions: 'propagate' }];
  await using site = await startMirror({
    upstream: far,
    config: { site: { name: 'shanghai', primary: { url: primary.url }, sync } },
  });
  const run = async (): Promise<RunAnswer> => {
    const { id } = await api<RunAnswer>(site, '/sync/all', 'POST');
    return ended(site, id);
  };

  const whole = await run();
  primary.script(firstPage(['a'], '</v2/library/app/tags/list>; rel="next"'));
  const part = await run();
  const kept = await get(`${site.url}/v2/library/app/manifests/b`);
  primary.remove('library/app', 'b');
  await run();
  const deleted = await get(`${site.url}/v2/library/app/manifests/b`);

  assert.equal(whole.state, 'succeeded', JSON.stringify(whole));
  assert.match(JSON.stringify(part.errors), /the list of the tags of .*library.app is incomplete/);
  assert.equal(kept.digest, image.manifest.digest);
  assert.equal(deleted.status, 404);
});

test('a list that is incomplete at a primary is incomplete at its mirror site', async () => {
  await using upstream = await startScriptedRegistry();
  await using far = await startScriptedRegistry();
  await using primary = await startMirror({ upstream, settings: { tagTtl: '0' } });
  await using site = await startMirror({
    upstream: far,
    settings: { tagTtl: '0' },
    config: {
      site: { name: 'here', primary: { url: primary.url, admin: primary.adminUrl }, sync: [] },
    },
  });
  addTags(upstream, 'library/app', 'a', 'b', 'c');
  upstream.script(firstPage(['a', 'b'], '</v2/library/app/tags/list>; rel="next"'));

  const part = await get(site.url + path);
  upstream.clearScript();
  const whole = await get(site.url + path);

  assert.deepEqual(tagsIn(part), ['a', 'b']);
  assert.match(String(part.headers['warning']), /^299 - "this list is incomplete: the Link/);
  assert.deepEqual(tagsIn(whole), ['a', 'b', 'c']);
  assert.equal(whole.headers['warning'], undefined);
});

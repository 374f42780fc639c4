import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Rule } from '../kit/faults.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

/** A primary site that is any registry: its tags are listed, and each is asked for. */

const image = makeImage({ seed: 'plain', layers: [60_000] });

function startSite(
  far: ScriptedRegistry,
  primary: ScriptedRegistry,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<TestMirror> {
  const rule = { name: 'all', repositories: ['docker.io/library/app'], deletions: 'propagate' };
  return startMirror({
    upstream: far,
    settings,
    config: { site: { name: 'shanghai', primary: { url: primary.url }, sync: [rule] } },
  });
}

/** A run of the rule; how it ended. */
async function sync(site: TestMirror): Promise<string> {
  const answer = await fetch(`${site.adminUrl}/api/v1/sync/all`, { method: 'POST' });
  const { id } = (await answer.json()) as { id: string };
  const ended = new Set(['succeeded', 'partial', 'failed']);
  const event = await site.observed('run-changed', (run) => run.id === id && ended.has(run.state));
  return event.state;
}

async function tagsOf(site: TestMirror): Promise<string[]> {
  const name = encodeURIComponent('docker.io/library/app');
  const answer = await get(`${site.adminUrl}/api/v1/repositories/${name}/tags`);
  const { items } = JSON.parse(answer.body.toString()) as { items: { tag: string }[] };
  return items.map(({ tag }) => tag).sort();
}

const silent: [how: string, rule: Rule][] = [
  [
    'names no digest',
    { when: { kind: 'manifest' }, do: { dropHeaders: ['docker-content-digest'] } },
  ],
  ['refuses HEAD', { when: { kind: 'manifest', method: 'HEAD' }, do: { status: 405 } }],
];

for (const [how, rule] of silent) {
  test(`what a primary that ${how} has is copied, and not deleted`, async () => {
    await using far = await startScriptedRegistry();
    await using primary = await startScriptedRegistry();
    await using site = await startSite(far, primary);
    primary.add('library/app', image, 'v1');
    await sync(site);
    primary.script(rule);
    const other: Image = makeImage({ seed: 'other', layers: [50_000] });
    primary.add('library/app', other, 'v2');

    const state = await sync(site);

    assert.equal(state, 'succeeded');
    assert.deepEqual(await tagsOf(site), ['v1', 'v2']);
  });
}

test('a tag that the primary lists and does not have keeps no other from being copied', async () => {
  await using far = await startScriptedRegistry();
  await using primary = await startScriptedRegistry();
  await using site = await startSite(far, primary);
  primary.add('library/app', image, 'v1');
  primary.add('library/app', image, 'broken');
  primary.script({
    when: { kind: 'manifest', reference: 'broken' },
    do: { status: 404 },
  });

  const state = await sync(site);

  assert.equal(state, 'succeeded');
  assert.deepEqual(await tagsOf(site), ['v1']);
});

test('a tag that a client did not get is given out as soon as it is copied', async () => {
  await using far = await startScriptedRegistry();
  await using primary = await startScriptedRegistry();
  const settings = { tagTtl: '0', negativeTtl: '1h', onGone: 'deny' };
  await using site = await startSite(far, primary, settings);
  const url = `${site.url}/v2/library/app/manifests/v1`;
  const before = await get(url);
  primary.add('library/app', image, 'v1');

  const state = await sync(site);
  const after = await get(url);

  assert.equal(before.status, 404);
  assert.equal(state, 'succeeded');
  assert.equal(after.digest, image.manifest.digest);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pin } from '../../src/api/care.ts';
import { parseConfig } from '../../src/config/load.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { api, ended, type RunAnswer } from '../kit/runs.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const rule = { name: 'base', images: ['base:1.*'], newest: 2, pin: true };

/** Who pins what. */
async function pins(mirror: TestMirror): Promise<Record<string, string[]>> {
  const { items } = await api<{ items: Pin[] }>(mirror, '/pins');
  return Object.fromEntries(
    items.map(({ reference, by }) => [reference.replace('docker.io/library/', ''), by]),
  );
}

async function runRule(mirror: TestMirror, query = ''): Promise<RunAnswer> {
  const { id } = await api<RunAnswer>(mirror, `/jobs/prewarm:base/run${query}`, 'POST');
  return ended(mirror, id);
}

function addTags(upstream: ScriptedRegistry, ...tags: string[]): void {
  for (const tag of tags) {
    upstream.add('library/base', makeImage({ seed: tag, layers: [30_000] }), tag);
  }
}

test('a rule pins what it selects, and lets go of what it no longer does; people’s pins stay', async () => {
  await using upstream = await startScriptedRegistry();
  addTags(upstream, '1.0', '1.1', '2.0');
  await using mirror = await startMirror({
    upstream,
    settings: { tagTtl: '1h' },
    config: { prewarm: [rule] },
  });

  await runRule(mirror, '?dryRun=true');
  assert.deepEqual(await pins(mirror), {}, 'a dry run pins nothing');
  await runRule(mirror);
  await api(mirror, '/pins', 'POST', { reference: 'base:1.0' });
  assert.deepEqual(await pins(mirror), {
    'base:1.0': ['prewarm:base', 'person'],
    'base:1.1': ['prewarm:base'],
  });

  addTags(upstream, '1.2', '1.3');
  const run = await runRule(mirror);

  assert.equal(run.state, 'succeeded', JSON.stringify(run));
  const after = {
    'base:1.0': ['person'],
    'base:1.2': ['prewarm:base'],
    'base:1.3': ['prewarm:base'],
  };
  assert.deepEqual(await pins(mirror), after);
  await mirror.restart();
  assert.deepEqual(await pins(mirror), after, 'over a restart');

  const refused = await fetch(`${mirror.adminUrl}/api/v1/pins?ref=base:1.3`, { method: 'DELETE' });
  assert.equal(refused.status, 409);
  assert.match(await refused.text(), /pinned by the rule prewarm:base/);
});

test('while upstream does not list its tags, or lacks one, the rule lets go of nothing', async () => {
  await using upstream = await startScriptedRegistry();
  addTags(upstream, '1.0', '1.1');
  await using mirror = await startMirror({
    upstream,
    settings: { tagTtl: '0' },
    config: { prewarm: [{ ...rule, images: ['base:1.*', 'base:1.0'] }] },
  });
  await runRule(mirror);
  const before = await pins(mirror);
  assert.deepEqual(Object.keys(before), ['base:1.0', 'base:1.1']);

  const cut = { link: '</v2/library/base/tags/list>; rel="next"' };
  const part = JSON.stringify({ tags: ['1.0'] });
  upstream.script(
    { when: { kind: 'tags' }, times: 1, do: { status: 200, headers: cut, body: part } },
    { when: { kind: 'tags' }, do: { status: 403 } },
  );
  const incomplete = await runRule(mirror);
  assert.deepEqual(await pins(mirror), before);
  const run = await runRule(mirror);

  assert.deepEqual([incomplete.state, run.state], ['succeeded', 'partial']);
  assert.deepEqual(await pins(mirror), before);
});

test('a rule that is gone, or pins no more, holds nothing from the next start on', async () => {
  await using upstream = await startScriptedRegistry();
  addTags(upstream, '1.0');
  await using mirror = await startMirror({ upstream, config: { prewarm: [rule] } });
  await runRule(mirror);
  await api(mirror, '/pins', 'POST', { reference: 'base:1.0' });

  await mirror.restart({ prewarm: [{ ...rule, pin: false }] });

  assert.deepEqual(await pins(mirror), { 'base:1.0': ['person'] });
});

test('a run whose rule goes while it runs pins nothing that nobody could let go', async () => {
  const held = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry();
  addTags(upstream, '1.0', '1.1');
  await using mirror = await startMirror({ upstream, config: { prewarm: [rule] } });
  upstream.script({ when: { kind: 'blob' }, do: { holdUntil: held.promise } });
  const { id } = await api<RunAnswer>(mirror, '/jobs/prewarm:base/run', 'POST');
  await mirror.observed('fill-started');

  await mirror.app.reload(
    parseConfig(
      JSON.stringify({
        registry: { listen: '127.0.0.1:0' },
        admin: { listen: '127.0.0.1:0' },
        storage: { path: mirror.storagePath, minFree: '0' },
        upstreams: { 'docker.io': { urls: [upstream.url] } },
      }),
      'test.yaml',
      {},
    ),
  );
  held.resolve();
  const run = await ended(mirror, id);

  assert.equal(run.state, 'succeeded', JSON.stringify(run));
  assert.deepEqual(await pins(mirror), {});
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Work } from '../../src/base/work.ts';
import { systemClock } from '../../src/base/clock.ts';
import { parseConfig } from '../../src/config/load.ts';
import { decideByQuota, waitForQuota } from '../../src/mirror/keep-quota.ts';
import type { Quota } from '../../src/upstream/quota.ts';
import { OpenUpstreams } from '../../src/wiring/upstreams.ts';
import type { Rule } from '../kit/faults.ts';
import { makeImage } from '../kit/images.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

const quota: Quota = {
  account: 'me',
  source: undefined,
  limit: 100,
  remaining: 50,
  windowSeconds: 21_600,
  seenMs: 0,
  pulls: 0,
  checks: 0,
};

test('as many pulls as are to be kept are kept, where upstream names a limit', () => {
  const cases: [Quota | undefined, keep: number, 'pull' | 'wait'][] = [
    [quota, 49, 'pull'],
    [quota, 50, 'wait'],
    [{ ...quota, remaining: 0 }, 0, 'pull'],
    [{ ...quota, remaining: undefined }, 50, 'pull'],
    [undefined, 50, 'pull'],
  ];

  for (const [held, keep, expected] of cases) {
    assert.equal(decideByQuota(held, keep).do, expected);
  }
});

function left(remaining: number, times: number): Rule {
  const headers = {
    'ratelimit-limit': '100;w=20',
    'ratelimit-remaining': `${remaining};w=20`,
  };
  return { when: { kind: 'manifest' }, times, do: { headers } };
}

function openUpstreams(config: object): Promise<OpenUpstreams> {
  return OpenUpstreams.open(parseConfig(JSON.stringify(config), 'test.yaml', {}), {
    env: {},
    version: 'test',
    clock: systemClock,
    observe: () => {},
    links: { find: () => Promise.resolve(undefined) } as never,
  });
}

/** Work that keeps for what it has waited. */
function waitingWork(waited: string[]): Work {
  return {
    signal: new AbortController().signal,
    wait: <T>(reason: string, until: Promise<T>) => {
      waited.push(reason);
      return until;
    },
  } as Work;
}

const image = { name: 'library/app', reference: { tag: '1' } };

test('a task waits while too few pulls are left, says why, and asks by HEAD alone', async () => {
  await using upstream = await startScriptedRegistry({ rules: [left(50, 2), left(51, 10)] });
  upstream.add('library/app', makeImage({ seed: 'keep', layers: [100] }), '1');
  const upstreams = await openUpstreams({ upstreams: { 'docker.io': { urls: [upstream.url] } } });
  await using closing = new AsyncDisposableStack();
  closing.defer(() => upstreams.close());
  const from = upstreams.byName.get('docker.io')!.upstream;
  const waited: string[] = [];

  await waitForQuota(from, image, 50, waitingWork(waited));

  const reason = 'docker.io: 50 of 100 pulls are left for anonymous, and 50 are kept for clients';
  assert.deepEqual(waited, [reason, reason]);
  assert.equal(upstream.count({ method: 'GET', kind: 'manifest' }), 0);
  assert.equal(upstream.count({ method: 'HEAD' }), 3);
});

test('a task does not wait for the pulls of upstream where the primary has what it wants', async () => {
  await using upstream = await startScriptedRegistry({ rules: [left(0, Infinity)] });
  await using primary = await startScriptedRegistry();
  upstream.add('library/other', makeImage({ seed: 'other', layers: [100] }), '1');
  primary.add('library/app', makeImage({ seed: 'keep', layers: [100] }), '1');
  const upstreams = await openUpstreams({
    upstreams: { 'docker.io': { urls: [upstream.url] } },
    site: { name: 'here', primary: { url: primary.url }, sync: [] },
  });
  await using closing = new AsyncDisposableStack();
  closing.defer(() => upstreams.close());
  const from = upstreams.byName.get('docker.io')!.upstream;
  await from.fetchManifest('library/other', { tag: '1' }, {});
  const waited: string[] = [];

  await waitForQuota(from, image, 50, waitingWork(waited));

  assert.deepEqual(waited, []);
});

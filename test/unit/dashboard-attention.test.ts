import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Run } from '../../src/api/runs.ts';
import type { History, Stats } from '../../src/api/stats.ts';
import type { SyncStatus } from '../../src/api/sync.ts';
import type { Upstream } from '../../src/api/upstreams.ts';
import { attentionOf, type Known } from '../../src/dashboard/pages/overview/attention.ts';

const nowMs = Date.parse('2026-11-21T03:00:00Z');
const nothing: Known = {
  stats: undefined,
  history: undefined,
  runs: [],
  sync: undefined,
  reasons: [],
};

/** `kind severity`, in order. */
function saidOf(known: Partial<Known>): string[] {
  return attentionOf({ ...nothing, ...known }, nowMs).map(
    ({ kind, severity }) => `${kind} ${severity}`,
  );
}

function minutesAgo(minutes: number): string {
  return new Date(nowMs - minutes * 60_000).toISOString();
}

function upstreamOf(facts: Partial<Upstream>): Upstream {
  return {
    name: 'docker.io',
    urls: [],
    state: 'up',
    requests: 0,
    errors: 0,
    averageMs: 0,
    lastError: null,
    quotas: [],
    pauses: [],
    ...facts,
  };
}

function quotaOf(remaining: number | null, limit: number | null): Upstream['quotas'][0] {
  const rest = { source: null, windowSeconds: 21_600, seenAt: null, pulls: 0, checks: 0 };
  return { account: 'anonymous', remaining, limit, ...rest };
}

function statsOf(facts: { upstreams?: Upstream[]; freeShare?: number }): Stats {
  const disk = {
    usedBytes: 0,
    reservedBytes: 0,
    maxBytes: 0,
    freeBytes: (facts.freeShare ?? 0.5) * 1000,
    totalBytes: 1000,
    blobs: 0,
    isCounted: true,
    tiers: [],
  };
  return { upstreams: facts.upstreams ?? [], disk } as unknown as Stats;
}

function runOf(facts: Pick<Run, 'job' | 'state'> & { endedMinutesAgo: number | null }): Run {
  const { endedMinutesAgo, ...rest } = facts;
  const endedAt = endedMinutesAgo === null ? null : minutesAgo(endedMinutesAgo);
  return { ...rest, id: `${facts.job} ${endedAt}`, endedAt, errors: [] } as unknown as Run;
}

test('an idle mirror and a busy one need nothing', () => {
  assert.deepEqual(saidOf({}), []);
  assert.deepEqual(
    saidOf({
      stats: statsOf({ upstreams: [upstreamOf({ quotas: [quotaOf(60, 100)] })] }),
      runs: [runOf({ job: 'gc', state: 'succeeded', endedMinutesAgo: 5 })],
    }),
    [],
  );
});

test('an upstream that is down comes before one that limits; one that is off by configuration is well', () => {
  const upstreams = [
    upstreamOf({ pauses: [{ scope: 'pulls', secondsLeft: 60 }] }),
    upstreamOf({ name: 'ghcr.io', state: 'down' }),
    upstreamOf({ name: 'quay.io', state: 'offline' }),
  ];

  assert.deepEqual(saidOf({ stats: statsOf({ upstreams }) }), [
    'upstream-down critical',
    'paused warning',
  ]);
});

test('a quota is told of when a fifth is left, and louder when it is spent', () => {
  const said = (remaining: number | null, limit: number | null): string[] =>
    saidOf({
      stats: statsOf({ upstreams: [upstreamOf({ quotas: [quotaOf(remaining, limit)] })] }),
    });

  assert.deepEqual(said(21, 100), []);
  assert.deepEqual(said(20, 100), ['quota warning']);
  assert.deepEqual(said(0, 100), ['quota critical']);
  assert.deepEqual(said(null, null), []);
});

test('a disk with little room left is told of by what the file system has', () => {
  assert.deepEqual(saidOf({ stats: statsOf({ freeShare: 0.05 }) }), []);
  assert.deepEqual(saidOf({ stats: statsOf({ freeShare: 0.03 }) }), ['disk-low warning']);
  assert.deepEqual(saidOf({ stats: statsOf({ freeShare: 0.01 }) }), ['disk-low critical']);
});

test('a failed run is told of until the job went well again, or a day has passed', () => {
  const failed = runOf({ job: 'base', state: 'failed', endedMinutesAgo: 60 });

  assert.deepEqual(saidOf({ runs: [failed] }), ['run critical']);
  assert.deepEqual(
    saidOf({ runs: [runOf({ job: 'base', state: 'running', endedMinutesAgo: null }), failed] }),
    ['run critical'],
  );
  assert.deepEqual(
    saidOf({ runs: [runOf({ job: 'base', state: 'succeeded', endedMinutesAgo: 5 }), failed] }),
    [],
  );
  assert.deepEqual(
    saidOf({ runs: [runOf({ job: 'base', state: 'failed', endedMinutesAgo: 1500 })] }),
    [],
  );
  assert.deepEqual(
    saidOf({ runs: [runOf({ job: 'base', state: 'partial', endedMinutesAgo: 5 })] }),
    ['run warning'],
  );
});

test('a sync rule that fails, or is minutes behind, is told of', () => {
  const said = (state: string, lagSeconds: number): string[] =>
    saidOf({ sync: { items: [{ name: 'team', state, lagSeconds }] } as unknown as SyncStatus });

  assert.deepEqual(said('ok', 0), []);
  assert.deepEqual(said('behind', 30), []);
  assert.deepEqual(said('behind', 300), ['sync warning']);
  assert.deepEqual(said('failing', 0), ['sync critical']);
});

test('failed requests and stale answers count when they are recent and not a handful', () => {
  const said = (minutes: number, requests: number, errors: number, stale: number): string[] =>
    saidOf({
      history: {
        points: [{ at: minutesAgo(minutes), requests, errors, stale }],
      } as unknown as History,
    });

  assert.deepEqual(said(5, 100, 1, 0), []);
  assert.deepEqual(said(5, 100, 10, 0), ['errors warning']);
  assert.deepEqual(said(5, 4, 2, 0), []);
  assert.deepEqual(said(5, 100, 0, 3), ['stale warning']);
  assert.deepEqual(said(15, 100, 50, 3), []);
});

test('why the mirror is not ready comes first', () => {
  const upstreams = [upstreamOf({ pauses: [{ scope: 'all', secondsLeft: 5 }] })];

  assert.deepEqual(saidOf({ stats: statsOf({ upstreams }), reasons: ['shutting down'] }), [
    'not-ready critical',
    'paused warning',
  ]);
});

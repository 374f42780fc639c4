import type { Run } from '../../../api/runs.ts';
import type { History, Stats } from '../../../api/stats.ts';
import type { SyncStatus } from '../../../api/sync.ts';
import type { Quota, Upstream } from '../../../api/upstreams.ts';

export type Severity = 'critical' | 'warning';

/** One thing that is wrong now. */
export type Attention = { readonly severity: Severity } & (
  | { readonly kind: 'not-ready'; readonly reason: string }
  | { readonly kind: 'upstream-down'; readonly upstream: Upstream }
  | { readonly kind: 'paused'; readonly upstream: string; readonly pause: Upstream['pauses'][0] }
  | { readonly kind: 'quota'; readonly upstream: string; readonly quota: KnownQuota }
  | { readonly kind: 'disk-low'; readonly freeBytes: number; readonly share: number }
  | { readonly kind: 'run'; readonly run: Run }
  | { readonly kind: 'sync'; readonly rule: SyncStatus['items'][0] }
  | { readonly kind: 'errors'; readonly share: number }
  | { readonly kind: 'stale'; readonly count: number }
);

type KnownQuota = Quota & { readonly limit: number; readonly remaining: number };

export interface Known {
  readonly stats: Stats | undefined;
  readonly history: History | undefined;
  readonly runs: readonly Run[];
  readonly sync: SyncStatus | undefined;
  /** Why the mirror is not ready. */
  readonly reasons: readonly string[];
}

/** Of the file system: what the mirror leaves free by default is 5 %. */
const diskShares = { warning: 0.04, critical: 0.015 };

const quotaShareMin = 0.2;

const failedRunsMs = 24 * 3_600_000;

/** How far back answers are looked at. */
export const recentMinutes = 10;

const errorShareMin = 0.05;

/** Fewer say nothing. */
const requestsMin = 20;

/** A feed is seconds behind while it works; this is longer. */
const lagSecondsMax = 120;

/** What is wrong now, the worst first. */
export function attentionOf(known: Known, nowMs: number): Attention[] {
  const all = [
    ...known.reasons.map(
      (reason) => ({ kind: 'not-ready', severity: 'critical', reason }) as const,
    ),
    ...(known.stats === undefined ? [] : ofStats(known.stats)),
    ...ofRuns(known.runs, nowMs),
    ...ofSync(known.sync),
    ...ofHistory(known.history, nowMs),
  ];
  const rank = ({ severity }: Attention): number => (severity === 'critical' ? 0 : 1);
  return all.sort((a, b) => rank(a) - rank(b));
}

function ofStats({ upstreams, disk }: Stats): Attention[] {
  const found: Attention[] = [];
  for (const upstream of upstreams) {
    if (upstream.state === 'down') {
      found.push({ kind: 'upstream-down', severity: 'critical', upstream });
    }
    for (const pause of upstream.pauses) {
      found.push({ kind: 'paused', severity: 'warning', upstream: upstream.name, pause });
    }
    for (const quota of upstream.quotas) {
      if (!isKnown(quota) || quota.remaining > quota.limit * quotaShareMin) continue;
      const severity = quota.remaining === 0 ? 'critical' : 'warning';
      found.push({ kind: 'quota', severity, upstream: upstream.name, quota });
    }
  }
  const share = disk.totalBytes === 0 ? 1 : disk.freeBytes / disk.totalBytes;
  if (share < diskShares.warning) {
    const severity = share < diskShares.critical ? 'critical' : 'warning';
    found.push({ kind: 'disk-low', severity, freeBytes: disk.freeBytes, share });
  }
  return found;
}

function isKnown(quota: Quota): quota is KnownQuota {
  return quota.limit !== null && quota.remaining !== null;
}

/** Only the newest run of a job counts: what failed and then went well is over. */
function ofRuns(runs: readonly Run[], nowMs: number): Attention[] {
  const newest = new Map<string, Run>();
  for (const run of runs) {
    if (run.endedAt === null) continue;
    const before = newest.get(run.job);
    if (before === undefined || Date.parse(before.endedAt ?? '') < Date.parse(run.endedAt)) {
      newest.set(run.job, run);
    }
  }
  const found: Attention[] = [];
  for (const run of newest.values()) {
    if (nowMs - Date.parse(run.endedAt ?? '') > failedRunsMs) continue;
    if (run.state === 'failed') found.push({ kind: 'run', severity: 'critical', run });
    if (run.state === 'partial') found.push({ kind: 'run', severity: 'warning', run });
  }
  return found;
}

function ofSync(sync: SyncStatus | undefined): Attention[] {
  const found: Attention[] = [];
  for (const rule of sync?.items ?? []) {
    const isLate = rule.state === 'behind' && (rule.lagSeconds ?? 0) > lagSecondsMax;
    if (rule.state === 'failing') found.push({ kind: 'sync', severity: 'critical', rule });
    else if (isLate) found.push({ kind: 'sync', severity: 'warning', rule });
  }
  return found;
}

function ofHistory(history: History | undefined, nowMs: number): Attention[] {
  const since = nowMs - recentMinutes * 60_000;
  const recent = (history?.points ?? []).filter(({ at }) => Date.parse(at) >= since);
  const sum = (count: (point: History['points'][0]) => number): number =>
    recent.reduce((total, point) => total + count(point), 0);
  const requests = sum((point) => point.requests);
  const share = sum((point) => point.errors) / Math.max(requests, 1);
  const stale = sum((point) => point.stale);
  const found: Attention[] = [];
  if (requests >= requestsMin && share >= errorShareMin) {
    found.push({ kind: 'errors', severity: 'warning', share });
  }
  if (stale > 0) found.push({ kind: 'stale', severity: 'warning', count: stale });
  return found;
}

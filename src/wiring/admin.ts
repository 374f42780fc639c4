import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import type { Disk, Stats } from '../api/stats.ts';
import type { Quota, Upstream } from '../api/upstreams.ts';
import type { Clock } from '../base/clock.ts';
import type { Event, Observe } from '../base/events.ts';
import { parseDurationMs } from '../base/units.ts';
import { printConfig } from '../config/print.ts';
import type { Config } from '../config/schema.ts';
import { contentRoutes } from '../http/admin/content-routes.ts';
import { dashboardRoutes } from '../http/admin/dashboard-routes.ts';
import { doctorRoutes } from '../http/admin/doctor-routes.ts';
import { adminServer, type AdminRoutes } from '../http/admin/server.ts';
import { metricsRoute, statusRoutes } from '../http/admin/status-routes.ts';
import type { SseEvent } from '../http/admin/sse.ts';
import type { Doctor } from '../mirror/doctor.ts';
import type { ServerTls } from '../http/server-tls.ts';
import { Inventory } from '../mirror/inventory.ts';
import type { PrewarmTotals } from '../mirror/prewarm/usefulness.ts';
import type { Mirror, UpstreamState } from '../mirror/mirror.ts';
import type { Readiness } from '../mirror/readiness.ts';
import { repositoryKey } from '../oci/reference.ts';
import type { BlobStore, StoreUsage } from '../store/blob-store.ts';
import type { Names } from '../store/names.ts';
import { History } from '../telemetry/history.ts';
import { Metrics } from '../telemetry/metrics.ts';
import type { SyncRuleFigures } from '../telemetry/sync-metrics.ts';
import { Statistics } from '../telemetry/statistics.ts';

/** Consumers of events that the admin door shows; they exist before the parts that state events. */
export class Watchers {
  readonly statistics: Statistics;
  readonly #listeners = new Set<(event: Event) => void>();
  #metrics: Metrics | undefined;

  constructor(clock: Clock) {
    this.statistics = new Statistics(clock);
  }

  observe(event: Event): void {
    this.statistics.observe(event);
    this.#metrics?.observe(event);
    for (const listener of this.#listeners) listener(event);
  }

  /** One more who is told of everything, for as long as the process lives. */
  add(listener: (event: Event) => void): void {
    this.#listeners.add(listener);
  }

  watch(metrics: Metrics): void {
    this.#metrics = metrics;
  }

  /** @returns what ends it */
  readonly subscribe = (send: (event: SseEvent) => void): (() => void) => {
    const listener = (event: Event): void => {
      const { kind, ...data } = event;
      // A bug's error may hold anything; the log has it.
      send({ event: kind, data: kind === 'bug' ? { where: event.where } : data });
    };
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

export interface AdminSurroundings {
  /** The one in effect. */
  readonly config: () => Config;
  readonly version: string;
  readonly clock: Clock;
  readonly observe: Observe;
  readonly watchers: Watchers;
  readonly mirror: Mirror;
  /** What goes out to clients now, in bytes. */
  readonly servingBytes: () => number;
  readonly names: Names;
  readonly store: BlobStore & { usage(): Promise<StoreUsage> };
  readonly token: () => string | undefined;
  readonly tls: ServerTls | undefined;
  readonly readiness: Readiness;
  readonly logLevel: { get(): string; set(level: string): void };
  readonly prewarmed: () => PrewarmTotals;
  readonly doctor: Pick<Doctor, 'examine'>;
  readonly syncRules: () => readonly SyncRuleFigures[];
  /** Areas of the API that have their own parts. */
  readonly api: readonly AdminRoutes[];
}

export interface Admin {
  readonly server: FastifyInstance;
  close(): Promise<void>;
}

/** Where the built dashboard is: from a checkout as well as from the package. */
const dashboardFolder = fileURLToPath(new URL('../../dist/dashboard', import.meta.url));

/** The admin door, with everything that it shows. */
export async function openAdmin(around: AdminSurroundings): Promise<Admin> {
  const { config, clock, watchers, mirror, names, store } = around;
  const { statistics } = watchers;
  statistics.watch(() => ({
    servedBytes: around.servingBytes(),
    fetchedBytes: mirror.fills.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0),
  }));
  const history = new History(statistics, clock, {
    load: () => names.documents.find('statistics', 'history'),
    save: (points) => names.documents.put('statistics', 'history', points),
  });
  await history.open();
  const upstreams = (): Upstream[] => mirror.upstreams().map((state) => upstreamOf(state, around));
  const metrics = new Metrics({
    prewarmed: around.prewarmed,
    statistics,
    store: () => store.usage(),
    fills: () => mirror.fills,
    upstreams: () =>
      mirror.upstreams().map(({ registry, isDown, quotas, pauses }) => ({
        name: registry,
        isUp: !isDown,
        quotas,
        pauses,
      })),
    syncRules: around.syncRules,
  });
  watchers.watch(metrics);
  const stats = async (): Promise<Stats> => statsOf(around, await diskOf(store), upstreams());
  const server = await adminServer({
    readiness: () => around.readiness.look(),
    token: around.token,
    tls: around.tls,
    hosts: [config().admin.listen.host],
    version: around.version,
    observe: around.observe,
    root: [metricsRoute(() => metrics.render()), dashboardRoutes(dashboardFolder)],
    api: [
      contentRoutes(new Inventory({ store, names })),
      statusRoutes({
        stats,
        history: (window) => {
          const { stepSeconds, points } = history.points(parseDurationMs(window));
          return {
            window,
            stepSeconds,
            points: points.map(({ atMs, ...counts }) =>
              Object.assign(counts, { at: timeText(atMs) }),
            ),
          };
        },
        upstreams,
        config: () => printConfig(config()),
        events: watchers.subscribe,
        logLevel: around.logLevel,
      }),
      doctorRoutes(around.doctor),
      ...around.api,
    ],
  });
  return {
    server,
    close: async () => {
      await server.close();
      await history.close();
    },
  };
}

async function diskOf(store: AdminSurroundings['store']): Promise<Disk> {
  const usage = await store.usage();
  return { ...usage, tiers: [...usage.tiers] };
}

function statsOf(
  { version, clock, watchers, mirror, prewarmed }: AdminSurroundings,
  disk: Disk,
  upstreams: Upstream[],
): Stats {
  const { statistics } = watchers;
  const { requests, ...outcomes } = statistics.total;
  const byUpstream = Array.from(statistics.byUpstream, ([key, counts]) => ({
    ...Statistics.splitKey(key),
    ...counts,
  }));
  const { servedBytes: served, fetchedBytes: fetched } = statistics;
  const { prewarmedBytes, ...ofPrewarmed } = prewarmed();
  return {
    version,
    startedAt: timeText(statistics.startedMs),
    uptimeSeconds: Math.max(0, (clock.wallMs() - statistics.startedMs) / 1000),
    requests: { total: requests, ...outcomes },
    hitRatio: hitRatioOf(byUpstream),
    byUpstream,
    bytes: { served, fetched, saved: Math.max(0, served - fetched) },
    quotaRequestsSaved: statistics.pullsSaved,
    disk,
    fills: mirror.fills.map(({ repository, sizeBytes, runningMs, ...fill }) => ({
      ...fill,
      repository: repositoryKey(repository),
      sizeBytes: sizeBytes ?? null,
      seconds: runningMs / 1000,
    })),
    evictions: { blobs: statistics.evictedBlobs, bytes: statistics.evictedBytes },
    prewarm: { bytes: prewarmedBytes, ...ofPrewarmed },
    upstreams,
    topImages: [...statistics.images]
      .filter(([, { pulls }]) => pulls > 0)
      .sort(([, a], [, b]) => b.pulls - a.pulls)
      .slice(0, topMax)
      .map(([repository, { pulls, servedBytes, lastPullMs }]) => ({
        repository,
        pulls,
        servedBytes,
        lastPullAt: timeText(lastPullMs),
      })),
  };
}

/** Of manifests and blobs; lists cost an upstream little, and are asked for anew. */
function hitRatioOf(counts: Stats['byUpstream']): number | null {
  let good = 0;
  let asked = 0;
  for (const { kind, hits, misses, joined, revalidated, stale } of counts) {
    if (kind !== 'manifest' && kind !== 'blob') continue;
    good += hits + joined + revalidated + stale;
    asked += hits + joined + revalidated + stale + misses;
  }
  return asked === 0 ? null : good / asked;
}

/** Images in the statistics' list of the most pulled. */
const topMax = 20;

function upstreamOf(
  { registry: name, isDown, isOffline, quotas, pauses }: UpstreamState,
  { config, watchers }: AdminSurroundings,
): Upstream {
  const use = watchers.statistics.upstreams.get(name);
  const { requests = 0, errors = 0, totalMs = 0, lastError } = use ?? {};
  return {
    name,
    urls: [...(config().upstreams.get(name)?.urls ?? [])],
    state: isOffline ? 'offline' : isDown ? 'down' : 'up',
    requests,
    errors,
    averageMs: requests === 0 ? 0 : totalMs / requests,
    lastError:
      lastError === undefined ? null : { at: timeText(lastError.atMs), message: lastError.message },
    quotas: quotas.map(quotaOf),
    pauses: [...pauses],
  };
}

function quotaOf(quota: UpstreamState['quotas'][number]): Quota {
  return {
    account: quota.account,
    source: quota.source ?? null,
    limit: quota.limit ?? null,
    remaining: quota.remaining ?? null,
    windowSeconds: quota.windowSeconds ?? null,
    seenAt: quota.seenMs === undefined ? null : timeText(quota.seenMs),
    pulls: quota.pulls,
    checks: quota.checks,
  };
}

function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

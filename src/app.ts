import path from 'node:path';
import { systemClock } from './base/clock.ts';
import type { Observe } from './base/events.ts';
import { fieldsWithoutSecrets } from './base/secrets.ts';
import { listenText } from './config/scalars.ts';
import type { Config } from './config/schema.ts';
import { archiveRoutes } from './http/admin/archive-routes.ts';
import { careRoutes } from './http/admin/care-routes.ts';
import { clientRoutes } from './http/admin/client-routes.ts';
import { runRoutes, runStarter } from './http/admin/run-routes.ts';
import { syncRoutes } from './http/admin/sync-routes.ts';
import { RegistryRoutes } from './http/registry-routes.ts';
import { drainRegistryServer, registryServer } from './http/registry-server.ts';
import { renewCertificate } from './http/server-tls.ts';
import { Doctor } from './mirror/doctor.ts';
import { Scheduler, type Job } from './schedule/scheduler.ts';
import { Completions } from './mirror/replicate/completions.ts';
import { Learning } from './mirror/prewarm/learning.ts';
import { Mirror, type MirrorSettings } from './mirror/mirror.ts';
import { Readiness } from './mirror/readiness.ts';
import { ChunkCache } from './store/chunk-cache.ts';
import { systemDisk, type Disk } from './store/disk.ts';
import type { DiskBudget } from './store/space.ts';
import { Hashing } from './store/hashing.ts';
import { ChangeLog } from './store/changes.ts';
import { openNames, type TagChange } from './store/names.ts';
import { openStorage } from './store/open-store.ts';
import { shareDescriptors } from './wiring/descriptors.ts';
import { openAdmin, Watchers } from './wiring/admin.ts';
import { DoorSecrets } from './wiring/door-secrets.ts';
import { LiveConfig, type Reloaded } from './wiring/live-config.ts';
import { afterCounting } from './wiring/jobs/after-counting.ts';
import { jobsOf } from './wiring/jobs/jobs.ts';
import { pinningJobs } from './wiring/jobs/prewarm-job.ts';
import { feedOf } from './wiring/site/feed.ts';
import { pushRules } from './wiring/site/push-rules.ts';
import { Site } from './wiring/site/site.ts';
import { syncRules } from './wiring/site/sync-rules.ts';
import { listenAt } from './wiring/start-failure.ts';
import { OpenUpstreams } from './wiring/upstreams.ts';

/** What the outside gives: everything that a test replaces. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly observe: Observe;
  readonly version: string;
  readonly disk?: Disk;
  /** Files and sockets that the process may have open; undefined when nobody knows. */
  readonly descriptorLimit?: number | undefined;
  readonly logLevel: { get(): string; set(level: string): void };
}

/** A running mirror. */
export interface App {
  /** Where clients pull, such as `http://127.0.0.1:5000`. */
  readonly registryUrl: string;
  readonly adminUrl: string;
  readonly mirror: Mirror;
  /** Ends when the disk has been counted; hits are served before that. */
  readonly counted: Promise<void>;
  /**
   * Takes another configuration, but for what takes a restart, and reads secrets and certificates anew.
   * @throws ConfigError, or Error of a file that cannot be used; everything goes on as it was then
   */
  reload(next: Config): Promise<Reloaded>;
  /** What happens to the process as a whole is stated here, as all else is. */
  readonly observe: Observe;
  /**
   * Stops accepting, lets downloads end until the deadline (`registry.shutdownTimeout`), cuts the rest;
   * leaves nothing half done.
   */
  close(): Promise<{ readonly cutConnections: number }>;
}

/**
 * The composition root: configuration in, running parts out.
 * @throws MirrorError DISK_FAILED when the storage folder cannot be used, ConfigError for a secret
 *   that cannot be read, StartFailure when an address cannot be listened on
 */
export async function startApp(config: Config, around: Surroundings): Promise<App> {
  const clock = systemClock;
  const watchers = new Watchers(clock);
  const observe: Observe = (stated) => {
    const event = fieldsWithoutSecrets(stated);
    around.observe(event);
    watchers.observe(event);
  };

  const shares = shareDescriptors(around.descriptorLimit);
  const cache = new ChunkCache();
  const hashing = new Hashing();
  const live = new LiveConfig(config);
  const secrets = await DoorSecrets.open(config, around.env, observe);
  const storage = await openStorage({
    storagePath: config.storage.path,
    disk: around.disk ?? systemDisk,
    cache,
    hashing,
    openFilesMax: shares.keptFiles,
    checksReads: config.storage.verify.onRead === 'crc',
    clock,
    observe,
    budget: budgetOf(config),
    eviction: config.storage.eviction,
  });
  const { store, folder, disk, ready } = storage;
  const changes = new ChangeLog(path.join(folder, 'changes.db'), clock, observe);
  const names = await openNames({
    folder,
    observe,
    onTagChanged: (change) => noteTagChange(changes, completions, change),
  });

  const { env, version } = around;
  const upstreams = await OpenUpstreams.open(config, {
    env,
    version,
    clock,
    observe,
    links: names.links,
  });

  const mirror = new Mirror({
    upstreams: upstreams.byName,
    store,
    names,
    clock,
    observe,
    settings: mirrorSettings(live),
    verifier: storage.verifier,
  });
  store.keepPinned((digest) => names.pins.isPinned(digest));

  const completions = new Completions({
    isWhole: (repository, digest) => mirror.isWhole(repository, digest),
    complete: (image) => changes.append({ kind: 'complete', ...image }),
    observe,
  });
  watchers.add(completions.observe);
  const learning = await Learning.open(clock, names.documents);
  const { popularity, usefulness } = learning;
  watchers.add(learning.observe);

  const routes = new RegistryRoutes(mirror, observe);
  const registry = registryServer(routes, {
    tls: secrets.tlsOf('registry'),
    connectionsMax: shares.clients,
    onRefused: (connections) =>
      observe({ kind: 'clients-refused', connections, max: shares.clients }),
  });
  const registryUrl = (): string => urlOf(config.registry, registry.server.address());
  const scheduler = new Scheduler({ clock, observe, documents: names.documents });
  const { primary } = upstreams;
  const site = new Site({
    rulesOf: (by) => [
      ...syncRules(by, { clock, mirror, primary }),
      ...pushRules(by, { mirror, changes, around: { env, version, clock, observe } }),
    ],
    config,
    clock,
    documents: names.documents,
    scheduler,
  });
  const readiness = new Readiness({
    disk,
    folder,
    clock,
    counted: ready,
    upstreams: () => mirror.upstreams(),
  });
  const admin = await openAdmin({
    config: () => live.current,
    version,
    clock,
    observe,
    watchers,
    mirror,
    servingBytes: () => routes.underWayBytes,
    names,
    store,
    token: () => secrets.token,
    tls: secrets.tlsOf('admin'),
    readiness,
    logLevel: around.logLevel,
    prewarmed: () => usefulness.totals,
    doctor: new Doctor({
      disk,
      folder,
      minFreeBytes: (totalBytes) => budgetOf(live.current).minFreeBytes(totalBytes),
      names,
      upstreams: () => upstreams.examinable,
    }),
    syncRules: () => site.status().items,
    api: [
      runRoutes(scheduler),
      careRoutes(mirror.care, runStarter(scheduler)),
      archiveRoutes(mirror.archives),
      syncRoutes(feedOf(changes), site),
      clientRoutes({
        upstreams: () => mirror.upstreams().map((upstream) => upstream.registry),
        registryUrl,
      }),
    ],
  });

  const stopWork = async (): Promise<void> => {
    await site.stop();
    await scheduler.close();
    await site.close();
  };
  const close: App['close'] = async () => {
    readiness.close();
    const draining = drainRegistryServer(registry, live.current.registry.shutdownTimeoutMs);
    const [cutConnections] = await Promise.all([draining, stopWork()]);
    await completions.close();
    await mirror.close();
    await admin.close();
    await upstreams.close();
    await learning.close();
    await names.close();
    changes.close();
    await storage.close();
    await hashing.close();
    return { cutConnections };
  };

  const mayPin = (job: string): boolean => pinningJobs(live.current).has(job);
  const jobs = (by: Config, ofSite: readonly Job[]): Job[] =>
    afterCounting([...jobsOf(by, { mirror, clock, popularity, mayPin }), ...ofSite], ready);
  live.follow(upstreams.prepare);
  live.follow((next) =>
    secrets.prepare(next, (door, tls) =>
      renewCertificate(door === 'registry' ? registry : admin.server, tls),
    ),
  );
  live.follow(async (next, before) => {
    const rules = site.prepare(next);
    const commitJobs = scheduler.prepareJobs(jobs(next, rules.jobs));
    return () => {
      rules.commit();
      store.budget = budgetOf(next);
      commitJobs();
      void mirror.care.pins.releaseAllBut(pinningJobs(next));
      // What was set through the admin API stays until the setting changes.
      if (next.log.level !== before.log.level) around.logLevel.set(next.log.level);
    };
  });

  try {
    await mirror.care.pins.releaseAllBut(pinningJobs(config));
    await site.open();
    await scheduler.open(jobs(config, site.jobs()));
    await listenAt('registry.listen', registry, config.registry.listen);
    await listenAt('admin.listen', admin.server, config.admin.listen);
    site.follow();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    registryUrl: registryUrl(),
    adminUrl: urlOf(config.admin, admin.server.server.address()),
    mirror,
    counted: ready,
    reload: (next) => live.apply(next),
    observe,
    close,
  };
}

function noteTagChange(changes: ChangeLog, completions: Completions, change: TagChange): void {
  const { digest } = change;
  changes.append({ kind: digest === undefined ? 'delete' : 'set', ...change });
  if (digest !== undefined) completions.tagSet({ ...change, digest });
}

function budgetOf({ storage }: Config): DiskBudget {
  const { maxSizeBytes, minFree, lowWatermarkShare } = storage;
  return {
    maxBytes: maxSizeBytes,
    minFreeBytes: (totalBytes) => ('share' in minFree ? totalBytes * minFree.share : minFree.bytes),
    lowWatermark: lowWatermarkShare,
  };
}

function mirrorSettings(live: LiveConfig): MirrorSettings {
  return {
    get defaultUpstream() {
      return live.current.defaultUpstream;
    },
    get blobUnavailable() {
      return live.current.blobUnavailable;
    },
    get staleIncomplete() {
      return live.current.staleIncomplete;
    },
    get scrubRateBytesPerSecond() {
      return live.current.storage.verify.scrubRateBytesPerSecond;
    },
  };
}

/** Port 0 lets the system choose, so the port is asked of the server. */
function urlOf({ listen, tls }: Config['registry'] | Config['admin'], address: unknown): string {
  const { port } = address as { port: number };
  return `${tls === undefined ? 'http' : 'https'}://${listenText({ host: listen.host, port })}`;
}

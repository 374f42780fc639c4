import { isDeepStrictEqual } from 'node:util';
import type { Change as ChangeShape, SyncStatus, SyncVerification } from '../api/sync.ts';
import type { Clock } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { Config } from '../config/schema.ts';
import { runShape } from '../http/admin/run-routes.ts';
import type { ChangeFeed, SiteSync } from '../http/admin/sync-routes.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { Subject, Undelivered } from '../mirror/replicate/deliveries.ts';
import { Replication } from '../mirror/replicate/replication.ts';
import { entrepotSource, registrySource } from '../mirror/replicate/sources.ts';
import type { SyncRule, SyncSource } from '../mirror/replicate/sync.ts';
import { MirrorError } from '../oci/errors.ts';
import { repositoryKey } from '../oci/reference.ts';
import type { CronTimetable } from '../schedule/cron.ts';
import type { Job, Scheduler } from '../schedule/scheduler.ts';
import type { ChangeLog } from '../store/changes.ts';
import type { DocumentStore } from '../store/names.ts';
import { timeWindow } from './jobs/prewarm-job.ts';
import type { OpenPrimary } from './primary.ts';

type RuleStatus = SyncStatus['items'][number];

/** A plain registry has no feed: it is asked so often, unless its rule has a schedule. */
const pollSchedule = '*/5 * * * *';

type SyncSettings = NonNullable<Config['site']>['sync'][number];

/** Runs of a rule are jobs of this name. */
const jobName = (rule: string): string => `sync:${rule}`;

interface RuleAtWork {
  readonly settings: SyncSettings;
  readonly replication: Replication;
  /** Resolves when it knows what was done before; runs wait for that. */
  readonly opened: PromiseWithResolvers<void>;
  isOpen: boolean;
}

export interface SiteParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly mirror: Mirror;
  readonly documents: DocumentStore;
  readonly scheduler: Scheduler;
  readonly primary: OpenPrimary | undefined;
}

/** This site as a follower of its primary: jobs for its rules, the feed, and how far behind they are. */
export class Site implements SiteSync {
  readonly #parts: SiteParts;
  readonly #rules = new Map<string, RuleAtWork>();
  readonly #source: SyncSource | undefined;
  /** Rules that were replaced and have not ended yet, by name. */
  readonly #ending = new Map<string, Promise<void>>();
  #isFollowing = false;

  constructor(parts: SiteParts) {
    this.#parts = parts;
    const { config, primary } = parts;
    const feed = primary?.admin;
    for (const settings of config.site?.sync ?? []) {
      this.#rules.set(settings.name, this.#newRule(settings));
    }
    if (primary === undefined) return;
    this.#source =
      feed === undefined
        ? registrySource({
            upstreamOf: (registry) => primary.find(registry),
            catalog: (signal) => this.#catalog(signal),
          })
        : entrepotSource(feed);
  }

  jobs(): Job[] {
    return Array.from(this.#rules.values(), ({ settings, replication, opened }) => ({
      name: jobName(settings.name),
      summary: `Copies ${settings.repositories.join(', ')} from the primary`,
      timetable: this.#timetableOf(settings),
      run: async (work, parameters) => {
        await opened.promise;
        await this.#parts.mirror.sync.run(
          replication.rule,
          this.#needSource(),
          replication.deliveries,
          work,
          subjectsOf(parameters),
        );
      },
    }));
  }

  /** Other rules: those that differ begin anew, each where the last one of its name stood. */
  readonly prepare = (next: Config): Promise<() => void> =>
    Promise.resolve(() => {
      const before = new Map(this.#rules);
      this.#rules.clear();
      for (const settings of next.site?.sync ?? []) {
        const { name } = settings;
        const known = before.get(name);
        const isSame = known !== undefined && isDeepStrictEqual(known.settings, settings);
        this.#rules.set(name, isSame ? known : this.#newRule(settings));
        if (isSame) before.delete(name);
      }
      for (const [name, { replication }] of before) {
        const earlier = this.#ending.get(name);
        this.#ending.set(
          name,
          Promise.all([earlier, replication.close()]).then(() => {}),
        );
      }
      for (const rule of this.#rules.values()) if (!rule.isOpen) void this.#begin(rule);
    });

  /** What the rules have done before, which their jobs go on with. */
  async open(): Promise<void> {
    for (const rule of this.#rules.values()) await this.#open(rule);
  }

  /** Begins to follow; the scheduler must be open. */
  follow(): void {
    this.#isFollowing = true;
    for (const { replication } of this.#rules.values()) replication.start();
  }

  async close(): Promise<void> {
    this.#isFollowing = false;
    await Promise.all(Array.from(this.#rules.values(), ({ replication }) => replication.close()));
    await Promise.all(this.#ending.values());
  }

  run(rule: string, isDryRun: boolean): ReturnType<SiteSync['run']> {
    const job = jobName(rule);
    if (!this.#parts.scheduler.has(job)) return undefined;
    const record = this.#parts.scheduler.start(job, { trigger: 'manual', isDryRun });
    return record === undefined ? undefined : runShape(record);
  }

  status(): SyncStatus {
    const { config } = this.#parts;
    const rules = Array.from(this.#rules.values());
    const answered = rules.map(({ replication }) => replication.follow?.lastAnswerMs ?? 0);
    const lastAnswerMs = Math.max(0, ...answered);
    return {
      site: config.site?.name ?? null,
      primary: config.site?.primary.url ?? null,
      primaryAnsweredAt: timeText(lastAnswerMs === 0 ? undefined : lastAnswerMs),
      items: rules.map((rule) => this.#statusOf(rule)),
      next: null,
    };
  }

  async verify(name: string | undefined, signal: AbortSignal): Promise<SyncVerification> {
    const items: SyncVerification['items'] = [];
    for (const { replication } of this.#rules.values()) {
      const { rule } = replication;
      if (name !== undefined && rule.name !== name) continue;
      const differences = this.#parts.mirror.sync.differences(rule, this.#needSource(), signal);
      for await (const { repository, tag, here, there } of differences) {
        items.push({
          rule: rule.name,
          repository: repositoryKey(repository),
          tag,
          here: here ?? null,
          there: there ?? null,
        });
      }
    }
    return { isEqual: items.length === 0, items, next: null };
  }

  #newRule(settings: SyncSettings): RuleAtWork {
    const { clock, documents, primary } = this.#parts;
    const replication = new Replication({
      rule: ruleOf(settings, clock),
      feed: settings.follow ? primary?.admin : undefined,
      documents,
      clock,
      run: (subjects, signal) => this.#runByFeed(settings.name, subjects, signal),
    });
    return { settings, replication, opened: Promise.withResolvers(), isOpen: false };
  }

  async #open(rule: RuleAtWork): Promise<void> {
    rule.isOpen = true;
    await rule.replication.open();
    rule.opened.resolve();
  }

  /** A rule that comes later, once the one of its name before it has written down where it stood. */
  async #begin(rule: RuleAtWork): Promise<void> {
    rule.isOpen = true;
    await this.#ending.get(rule.settings.name);
    await this.#open(rule);
    const isWanted = this.#rules.get(rule.settings.name) === rule;
    if (this.#isFollowing && isWanted) rule.replication.start();
  }

  /** One run at a time for what the feed names: while it lasts, the primary's log is the queue. */
  async #runByFeed(
    rule: string,
    subjects: readonly Subject[] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { scheduler } = this.#parts;
    const parameters = subjects === undefined ? undefined : { subjects };
    const record = scheduler.start(jobName(rule), { trigger: 'feed', parameters });
    if (record === undefined) throw new Error('too many runs wait already');
    await scheduler.ended(record.id, signal);
  }

  #timetableOf({ schedule, timeZone, jitterMs, follow }: SyncSettings): CronTimetable | undefined {
    const isPolled = follow && this.#parts.primary?.admin === undefined;
    const cron = schedule ?? (isPolled ? pollSchedule : undefined);
    return cron === undefined ? undefined : { cron, timeZone, jitterMs };
  }

  #statusOf({ settings, replication }: RuleAtWork): RuleStatus {
    const { name, repositories } = settings;
    const { lag, follow, deliveries } = replication;
    const runs = this.#parts.scheduler.runs().filter(({ job }) => job === jobName(name));
    const success = runs.find((run) => run.state === 'succeeded');
    const [last] = runs;
    const { undelivered } = deliveries;
    const [owed] = undelivered;
    const lastError = follow?.lastError ?? (owed === undefined ? undefined : owedText(owed));
    const changes = lag.changes ?? (follow === undefined ? undelivered.length : undefined);
    return {
      name,
      repositories: [...repositories],
      schedule: this.#timetableOf(settings)?.cron ?? null,
      follows: follow !== undefined,
      state: stateOf(lastError, success !== undefined, changes),
      lagChanges: changes ?? null,
      lagSeconds: changes === undefined ? null : lag.seconds,
      copied: { ...deliveries.copied },
      undelivered: undelivered.map((one) => ({
        repository: one.repository === undefined ? null : repositoryKey(one.repository),
        tag: one.tag ?? null,
        attempts: one.attempts,
        since: timeOf(one.sinceMs),
        retryAt: timeOf(one.retryMs),
        error: one.message,
      })),
      lastSuccessAt: timeText(success?.endedMs),
      lastError: lastError ?? null,
      lastRun: last === undefined ? null : runShape(last),
    };
  }

  #needSource(): SyncSource {
    if (this.#source !== undefined) return this.#source;
    throw new MirrorError('UPSTREAM_UNAVAILABLE', 'this site has no primary: set site.primary');
  }

  async #catalog(signal: AbortSignal): Promise<string[]> {
    const { primary, config } = this.#parts;
    const client = primary?.find(config.defaultUpstream);
    return client === undefined ? [] : await client.catalog({ signal });
  }
}

/** The log of changes, in the words of the admin API. */
export function feedOf(log: ChangeLog): ChangeFeed {
  return {
    id: log.id,
    get latest() {
      return log.latest;
    },
    reaches: (seq) => log.reaches(seq),
    after: (seq, waitMs, signal) => log.after(seq, waitMs, signal),
    since: (seq, limit) =>
      log.since(seq, limit).map((change): ChangeShape => ({
        seq: change.seq,
        at: new Date(change.atMs).toISOString(),
        repository: repositoryKey(change.repository),
        tag: change.tag,
        digest: change.digest ?? null,
        mediaType: change.mediaType ?? null,
        kind: change.kind,
      })),
  };
}

function ruleOf(settings: SyncSettings, clock: Clock): SyncRule {
  const { bandwidthBytesPerSecond, tags, window } = settings;
  return {
    name: settings.name,
    repositories: settings.repositories,
    tags: { include: tags.include, exclude: tags.exclude, newest: tags.newest },
    platforms: settings.platforms,
    referrers: settings.referrers,
    deletions: settings.deletions,
    window: window === undefined ? undefined : timeWindow(window, clock),
    bandwidth:
      bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
  };
}

/** What the feed named, as a run keeps it. */
function subjectsOf(parameters: unknown): Subject[] | undefined {
  return (parameters as { subjects?: Subject[] } | undefined)?.subjects;
}

function stateOf(
  failure: string | undefined,
  hasSucceeded: boolean,
  lagChanges: number | undefined,
): RuleStatus['state'] {
  if (failure !== undefined) return 'failing';
  if (!hasSucceeded || lagChanges === undefined) return 'unknown';
  return lagChanges > 0 ? 'behind' : 'ok';
}

function owedText({ repository, tag, message }: Undelivered): string {
  if (repository === undefined) return message;
  return `${repositoryKey(repository)}${tag === undefined ? '' : `:${tag}`}: ${message}`;
}

function timeText(wallMs: number | undefined): string | null {
  return wallMs === undefined ? null : timeOf(wallMs);
}

function timeOf(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

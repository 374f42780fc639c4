import type { Change as ChangeShape, SyncStatus, SyncVerification } from '../api/sync.ts';
import type { Clock } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { Config } from '../config/schema.ts';
import { runShape } from '../http/admin/run-routes.ts';
import type { ChangeFeed, SiteSync } from '../http/admin/sync-routes.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { Follower } from '../mirror/replicate/follow.ts';
import { entrepotSource, registrySource } from '../mirror/replicate/sources.ts';
import { Sync, type ImageName, type SyncRule, type SyncSource } from '../mirror/replicate/sync.ts';
import { MirrorError } from '../oci/errors.ts';
import { repositoryKey } from '../oci/reference.ts';
import type { Job, Scheduler } from '../schedule/scheduler.ts';
import type { ChangeLog } from '../store/changes.ts';
import type { DocumentStore } from '../store/names.ts';
import type { PrimaryChange } from '../upstream/primary/admin.ts';
import type { OpenPrimary } from './primary.ts';

type SyncSettings = NonNullable<Config['site']>['sync'][number];

/** Runs of a rule are jobs of this name. */
const jobName = (rule: string): string => `sync:${rule}`;

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
  readonly #rules = new Map<string, { settings: SyncSettings; rule: SyncRule }>();
  readonly #source: SyncSource | undefined;
  readonly #follower: Follower | undefined;

  constructor(parts: SiteParts) {
    this.#parts = parts;
    const { config, clock, primary } = parts;
    for (const settings of config.site?.sync ?? []) {
      this.#rules.set(settings.name, { settings, rule: ruleOf(settings, clock) });
    }
    if (primary === undefined) return;
    const { admin } = primary;
    this.#source =
      admin === undefined
        ? registrySource({
            upstreamOf: (registry) => primary.find(registry),
            catalog: (signal) => this.#catalog(signal),
          })
        : entrepotSource(admin);
    const follows = [...this.#rules.values()].some(({ settings }) => settings.follow);
    if (admin === undefined || !follows) return;
    this.#follower = new Follower({
      admin,
      clock,
      shelf: {
        load: async () => {
          const seq = await parts.documents.find('sync', 'cursor');
          return typeof seq === 'number' ? seq : undefined;
        },
        save: (seq) => parts.documents.put('sync', 'cursor', seq),
      },
      taken: (changes) => this.#take(changes),
      compareAll: () => this.#compareAll(),
    });
  }

  jobs(): Job[] {
    return Array.from(this.#rules.values(), ({ settings, rule }) => ({
      name: jobName(rule.name),
      summary: `Copies ${rule.repositories.join(', ')} from the primary`,
      timetable:
        settings.schedule === undefined
          ? undefined
          : {
              cron: settings.schedule,
              timeZone: settings.timeZone,
              jitterMs: settings.jitterMs,
            },
      run: (work, parameters) =>
        this.#parts.mirror.sync.run(rule, this.#needSource(), work, imagesOf(parameters)),
    }));
  }

  /** Begins to follow; the scheduler must be open. */
  follow(): void {
    this.#follower?.start();
  }

  async close(): Promise<void> {
    await this.#follower?.close();
  }

  run(rule: string, isDryRun: boolean): ReturnType<SiteSync['run']> {
    const job = jobName(rule);
    if (!this.#parts.scheduler.has(job)) return undefined;
    const record = this.#parts.scheduler.start(job, { trigger: 'manual', isDryRun });
    return record === undefined ? undefined : runShape(record);
  }

  status(): SyncStatus {
    const { config, clock, scheduler } = this.#parts;
    const state = this.#follower?.state;
    const runs = scheduler.runs();
    const { cursor, latest, behindSinceMs } = state ?? {};
    const lagChanges =
      latest === undefined || cursor === undefined ? null : Math.max(0, latest - cursor);
    const lagSeconds =
      behindSinceMs === undefined ? 0 : Math.max(0, (clock.wallMs() - behindSinceMs) / 1000);
    return {
      site: config.site?.name ?? null,
      primary: config.site?.primary.url ?? null,
      primaryAnsweredAt: timeText(state?.lastAnswerMs),
      items: Array.from(this.#rules.values(), ({ settings, rule }) => {
        const own = runs.filter(({ job }) => job === jobName(rule.name));
        const [last] = own;
        const success = own.find((run) => run.state === 'succeeded');
        const failed = last?.state === 'failed' || last?.state === 'partial' ? last : undefined;
        const follows = settings.follow && this.#follower !== undefined;
        const error = failed?.errors[0];
        const failure =
          error === undefined
            ? follows
              ? state?.lastError
              : undefined
            : `${error.object}: ${error.message}`;
        return {
          name: rule.name,
          repositories: [...rule.repositories],
          schedule: settings.schedule ?? null,
          follows,
          state: stateOf(failure, success !== undefined, follows ? lagChanges : 0),
          lagChanges: follows ? lagChanges : null,
          lagSeconds: follows && lagChanges !== null ? lagSeconds : null,
          lastSuccessAt: timeText(success?.endedMs),
          lastError: failure ?? null,
          lastRun: last === undefined ? null : runShape(last),
        };
      }),
      next: null,
    };
  }

  async verify(name: string | undefined, signal: AbortSignal): Promise<SyncVerification> {
    const items: SyncVerification['items'] = [];
    for (const { rule } of this.#rules.values()) {
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

  /** Each rule is told of what it selects, in one run; runs outlive the process. */
  async #take(changes: readonly PrimaryChange[]): Promise<void> {
    for (const { settings, rule } of this.#rules.values()) {
      if (!settings.follow) continue;
      const images = new Map<string, ImageName>();
      for (const { kind, repository, tag } of changes) {
        // What is complete was set before; its coming means that nothing is waited for any more.
        if (kind === 'delete' && rule.deletions === 'keep') continue;
        if (Sync.selects(rule, repository)) {
          images.set(`${repositoryKey(repository)} ${tag}`, { repository, tag });
        }
      }
      if (images.size > 0) await this.#startByFeed(rule, [...images.values()]);
    }
  }

  async #compareAll(): Promise<void> {
    for (const { settings, rule } of this.#rules.values()) {
      if (settings.follow) await this.#startByFeed(rule, undefined);
    }
  }

  async #startByFeed(rule: SyncRule, images: ImageName[] | undefined): Promise<void> {
    const { scheduler } = this.#parts;
    const parameters = images === undefined ? undefined : { images };
    const record = scheduler.start(jobName(rule.name), { trigger: 'feed', parameters });
    // The cursor stays where it is, so nothing is lost.
    if (record === undefined) throw new Error('too many runs wait already');
    await scheduler.kept(record.id);
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
  const { bandwidthBytesPerSecond, tags } = settings;
  return {
    name: settings.name,
    repositories: settings.repositories,
    tags: { include: tags.include, exclude: tags.exclude, newest: tags.newest },
    platforms: settings.platforms,
    referrers: settings.referrers,
    deletions: settings.deletions,
    bandwidth:
      bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
  };
}

/** What the feed named, as a run keeps it. */
function imagesOf(parameters: unknown): ImageName[] | undefined {
  return (parameters as { images?: ImageName[] } | undefined)?.images;
}

function stateOf(
  failure: string | undefined,
  hasSucceeded: boolean,
  lagChanges: number | null,
): SyncStatus['items'][number]['state'] {
  if (failure !== undefined) return 'failing';
  if (!hasSucceeded || lagChanges === null) return 'unknown';
  return lagChanges > 0 ? 'behind' : 'ok';
}

function timeText(wallMs: number | undefined): string | null {
  return wallMs === undefined ? null : new Date(wallMs).toISOString();
}

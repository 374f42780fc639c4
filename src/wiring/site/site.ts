import { isDeepStrictEqual } from 'node:util';
import type { SyncStatus, SyncVerification } from '../../api/sync.ts';
import type { Clock } from '../../base/clock.ts';
import type { Config } from '../../config/schema.ts';
import { runShape, runStarter } from '../../http/admin/run-routes.ts';
import type { SiteSync } from '../../http/admin/sync-routes.ts';
import type { Subject, Undelivered } from '../../mirror/replicate/deliveries.ts';
import { Replication } from '../../mirror/replicate/replication.ts';
import { repositoryKey } from '../../oci/reference.ts';
import type { Job, Scheduler } from '../../schedule/scheduler.ts';
import type { DocumentStore } from '../../store/names.ts';
import type { ConfiguredRule, SiteRule } from './rule.ts';

type RuleStatus = SyncStatus['items'][number];

interface RuleAtWork {
  readonly settings: unknown;
  readonly rule: SiteRule;
  readonly replication: Replication;
  /** Resolves when it knows what was done before; runs wait for that. */
  readonly opened: PromiseWithResolvers<void>;
  isOpen: boolean;
}

export interface SiteParts {
  readonly config: Config;
  readonly rulesOf: (config: Config) => readonly ConfiguredRule[];
  readonly clock: Clock;
  readonly documents: DocumentStore;
  readonly scheduler: Scheduler;
}

/** This site among others: jobs for its rules, the feeds, and how far behind they are. */
export class Site implements SiteSync {
  readonly #parts: SiteParts;
  readonly #rules = new Map<string, RuleAtWork>();
  /** Rules that were replaced and have not ended yet, by name. */
  readonly #ending = new Map<string, Promise<void>>();
  /** The same, whose runs may still be under way. */
  readonly #replaced: SiteRule[] = [];
  #isFollowing = false;

  constructor(parts: SiteParts) {
    this.#parts = parts;
    for (const configured of parts.rulesOf(parts.config)) {
      this.#rules.set(configured.name, this.#newRule(configured));
    }
  }

  jobs(): Job[] {
    return jobsOf(this.#rules.values());
  }

  /**
   * Other rules: those that differ begin anew, each where the last one of its name stood. They are
   * built at once, which may fail; `commit` puts them to work.
   */
  prepare(config: Config): { readonly jobs: Job[]; readonly commit: () => void } {
    const next = new Map<string, RuleAtWork>();
    for (const configured of this.#parts.rulesOf(config)) {
      const { name, settings } = configured;
      const known = this.#rules.get(name);
      const isSame = known !== undefined && isDeepStrictEqual(known.settings, settings);
      next.set(name, isSame ? known : this.#newRule(configured));
    }
    return { jobs: jobsOf(next.values()), commit: () => this.#replace(next) };
  }

  /** What the rules have done before, which their jobs go on with. */
  async open(): Promise<void> {
    for (const rule of this.#rules.values()) await this.#open(rule);
  }

  /** Begins to follow; the scheduler must be open. */
  follow(): void {
    this.#isFollowing = true;
    for (const { replication } of this.#rules.values()) replication.start();
  }

  /** Begins nothing more; runs under way are the scheduler's to end. */
  async stop(): Promise<void> {
    this.#isFollowing = false;
    await Promise.all(Array.from(this.#rules.values(), ({ replication }) => replication.close()));
    await Promise.all(this.#ending.values());
  }

  /** Once no run is left. */
  async close(): Promise<void> {
    const rules = [...this.#replaced, ...Array.from(this.#rules.values(), ({ rule }) => rule)];
    await Promise.all(rules.map((rule) => rule.close()));
  }

  run(name: string, isDryRun: boolean): ReturnType<SiteSync['run']> {
    const found = this.#rules.get(name);
    if (found === undefined) return undefined;
    return runStarter(this.#parts.scheduler)(jobName(found.rule), { isDryRun });
  }

  status(): SyncStatus {
    const { site } = this.#parts.config;
    const rules = [...this.#rules.values()];
    const answered = rules
      .filter(({ rule }) => rule.direction === 'from')
      .map(({ replication }) => replication.follow?.lastAnswerMs ?? 0);
    const lastAnswerMs = Math.max(0, ...answered);
    return {
      site: site?.name ?? null,
      primary: site?.primary?.url ?? null,
      primaryAnsweredAt: timeText(lastAnswerMs === 0 ? undefined : lastAnswerMs),
      items: rules.map((one) => this.#statusOf(one)),
      next: null,
    };
  }

  async verify(name: string | undefined, signal: AbortSignal): Promise<SyncVerification> {
    const items: SyncVerification['items'] = [];
    for (const { rule } of this.#rules.values()) {
      if (name !== undefined && rule.name !== name) continue;
      for await (const { repository, tag, here, there } of rule.differences(signal)) {
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

  #replace(next: ReadonlyMap<string, RuleAtWork>): void {
    for (const [name, old] of this.#rules) {
      if (next.get(name) === old) continue;
      const { rule, replication } = old;
      this.#replaced.push(rule);
      const ended = Promise.all([this.#ending.get(name), replication.close()]);
      this.#ending.set(
        name,
        ended.then(() => {}),
      );
    }
    this.#rules.clear();
    for (const [name, rule] of next) {
      this.#rules.set(name, rule);
      if (!rule.isOpen) void this.#begin(rule);
    }
  }

  #newRule(configured: ConfiguredRule): RuleAtWork {
    const { clock, documents } = this.#parts;
    const rule = configured.open();
    const replication = new Replication({
      name: rule.name,
      feed: rule.feed,
      wants: rule.wants,
      documents,
      clock,
      run: (subjects, signal) => this.#runByFeed(rule, subjects, signal),
    });
    return {
      settings: configured.settings,
      rule,
      replication,
      opened: Promise.withResolvers(),
      isOpen: false,
    };
  }

  async #open(rule: RuleAtWork): Promise<void> {
    rule.isOpen = true;
    await rule.replication.open();
    rule.opened.resolve();
  }

  /** A rule that comes later, once the one of its name before it has written down where it stood. */
  async #begin(begun: RuleAtWork): Promise<void> {
    const { name } = begun.rule;
    begun.isOpen = true;
    await this.#ending.get(name);
    await this.#open(begun);
    const isWanted = this.#rules.get(name) === begun;
    if (this.#isFollowing && isWanted) begun.replication.start();
  }

  /** One run at a time for what the feed names: while it lasts, the log is the queue. */
  async #runByFeed(
    rule: SiteRule,
    subjects: readonly Subject[] | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { scheduler } = this.#parts;
    const parameters = subjects === undefined ? undefined : { subjects };
    const record = scheduler.start(jobName(rule), { trigger: 'feed', parameters });
    if (record === undefined) throw new Error('too many runs wait already');
    await scheduler.ended(record.id, signal);
  }

  #statusOf({ rule, replication }: RuleAtWork): RuleStatus {
    const { lag, follow, deliveries } = replication;
    const runs = this.#parts.scheduler.runs().filter(({ job }) => job === jobName(rule));
    const success = runs.find((run) => run.state === 'succeeded');
    const [last] = runs;
    const { undelivered } = deliveries;
    const [owed] = undelivered;
    const lastError = follow?.lastError ?? (owed === undefined ? undefined : owedText(owed));
    const changes = lag.changes ?? (follow === undefined ? undelivered.length : undefined);
    return {
      name: rule.name,
      direction: rule.direction,
      peer: rule.peer,
      repositories: [...rule.repositories],
      schedule: rule.timetable?.cron ?? null,
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
}

/** Runs of a rule are jobs of this name. */
function jobName({ name, direction }: SiteRule): string {
  return `${direction === 'from' ? 'sync' : 'push'}:${name}`;
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

function jobsOf(rules: Iterable<RuleAtWork>): Job[] {
  return Array.from(rules, ({ rule, replication, opened }) => ({
    name: jobName(rule),
    summary: rule.summary,
    timetable: rule.timetable,
    run: async (work, parameters) => {
      await opened.promise;
      await rule.run(replication.deliveries, work, subjectsOf(parameters));
    },
  }));
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

import type { Clock } from '../../base/clock.ts';
import { repositoryKey } from '../../oci/reference.ts';
import type { DocumentStore } from '../../store/names.ts';
import type { FeedCursor, PrimaryChange } from '../../upstream/primary/admin.ts';
import { pause } from '../retry.ts';
import { Deliveries, type Subject } from './deliveries.ts';
import { Follower, type Feed, type FollowState } from './follow.ts';

/** So often it is looked at whether something that failed is due again. */
const lookMs = 1_000;

/** How far this site is behind the primary for a rule. */
export interface Lag {
  /** Undefined while it is not known: the primary has not answered yet, or has no feed. */
  readonly changes: number | undefined;
  readonly seconds: number;
}

export interface ReplicationParts {
  /** Of the rule; keeps what is remembered of it. */
  readonly name: string;
  /** The feed to follow; undefined for a rule that only has a timetable. */
  readonly feed: Feed | undefined;
  /** Whether a change is something to do for the rule. */
  readonly wants: (change: PrimaryChange) => boolean;
  readonly documents: DocumentStore;
  readonly clock: Clock;
  /** Runs the rule and waits for its end. @param subjects undefined: all that it selects */
  readonly run: (subjects: readonly Subject[] | undefined, signal: AbortSignal) => Promise<void>;
}

/** One rule at work: what the feed names is copied, and what failed is tried again. */
export class Replication {
  readonly deliveries: Deliveries;
  readonly #parts: ReplicationParts;
  readonly #follower: Follower | undefined;
  readonly #abort = new AbortController();
  #retrying: Promise<void> = Promise.resolve();

  constructor(parts: ReplicationParts) {
    const { name, documents, clock, feed } = parts;
    this.#parts = parts;
    this.deliveries = new Deliveries({ rule: name, documents, clock });
    if (feed === undefined) return;
    const key = `${name} cursor`;
    this.#follower = new Follower({
      feed,
      clock,
      shelf: {
        load: async () => (await documents.find('sync', key)) as FeedCursor | undefined,
        save: (cursor) => documents.put('sync', key, cursor),
      },
      take: (changes, signal) => this.#take(changes, signal),
      compareAll: (signal) => parts.run(undefined, signal),
      recovered: () => this.deliveries.hasten(),
    });
  }

  get follow(): FollowState | undefined {
    return this.#follower?.state;
  }

  get lag(): Lag {
    const now = this.#parts.clock.wallMs();
    const { undelivered } = this.deliveries;
    const { cursor, latest, behindSinceMs, failingSinceMs } = this.follow ?? {};
    const since = [
      behindSinceMs ?? now,
      failingSinceMs ?? now,
      ...undelivered.map(({ sinceMs }) => sinceMs),
    ];
    const isKnown = latest !== undefined && cursor !== undefined;
    return {
      changes: isKnown ? Math.max(0, latest - cursor.seq) + undelivered.length : undefined,
      seconds: Math.max(0, (now - Math.min(...since)) / 1000),
    };
  }

  async open(): Promise<void> {
    await this.deliveries.open();
  }

  /** Begins to follow and to try again; runs can be started from now on. */
  start(): void {
    this.#follower?.start();
    this.#retrying = this.#retry(this.#abort.signal);
  }

  async close(): Promise<void> {
    this.#abort.abort(new Error('the mirror is shutting down'));
    await this.#follower?.close();
    await this.#retrying;
    await this.deliveries.save();
  }

  async #take(changes: readonly PrimaryChange[], signal: AbortSignal): Promise<void> {
    const subjects = new Map<string, Subject>();
    for (const change of changes) {
      const { repository, tag } = change;
      if (!this.#parts.wants(change)) continue;
      subjects.set(`${repositoryKey(repository)} ${tag}`, { repository, tag });
    }
    if (subjects.size > 0) await this.#parts.run([...subjects.values()], signal);
  }

  async #retry(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(lookMs, signal).catch(() => {});
      if (signal.aborted) return;
      const due = this.deliveries.takeDue();
      if (due.length === 0) continue;
      const isAll = due.some(({ repository }) => repository === undefined);
      // What fails once more is noted by the run itself; without a place in the line it waits on.
      await this.#parts.run(isAll ? undefined : due, signal).catch(() => {});
    }
  }
}

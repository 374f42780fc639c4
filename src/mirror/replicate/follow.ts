import type { Clock } from '../../base/clock.ts';
import {
  LogTooShort,
  type FeedCursor,
  type PrimaryAdmin,
  type PrimaryChange,
} from '../../upstream/primary/admin.ts';
import { pause } from '../retry.ts';

/** How long one question waits for a change; an idle line costs one question in this time. */
const waitSeconds = 30;

/** After a failure: the first wait and the longest; it doubles. */
const backOffMs = { first: 500, max: 15_000 };

/** After a change: what belongs to it (the image of an index) is named a moment later. */
const settleMs = 300;

/** The log of changes of a site: the primary's, or our own. */
export type Feed = Pick<PrimaryAdmin, 'changes' | 'latest'>;

/** Where a follower is: the place after the last change that was taken up. */
export interface CursorShelf {
  load(): Promise<FeedCursor | undefined>;
  save(cursor: FeedCursor): Promise<void>;
}

/** Times by the wall clock in milliseconds. */
export interface FollowState {
  readonly cursor: FeedCursor | undefined;
  /** The number of the newest change, when the primary last answered. */
  readonly latest: number | undefined;
  readonly lastAnswerMs: number | undefined;
  /** Since when there are changes that are not here. */
  readonly behindSinceMs: number | undefined;
  readonly failingSinceMs: number | undefined;
  readonly lastError: string | undefined;
}

/** Follows a feed for one rule: one long question at a time, as long as the process lives. */
export class Follower {
  readonly #feed: Feed;
  readonly #shelf: CursorShelf;
  readonly #clock: Clock;
  readonly #take: (changes: readonly PrimaryChange[], signal: AbortSignal) => Promise<void>;
  readonly #compareAll: (signal: AbortSignal) => Promise<void>;
  readonly #recovered: () => void;
  readonly #abort = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #state: FollowState = {
    cursor: undefined,
    latest: undefined,
    lastAnswerMs: undefined,
    behindSinceMs: undefined,
    failingSinceMs: undefined,
    lastError: undefined,
  };

  constructor(parts: {
    readonly feed: Feed;
    readonly shelf: CursorShelf;
    readonly clock: Clock;
    /** Ends when changes are here, or noted as owed. */
    readonly take: (changes: readonly PrimaryChange[], signal: AbortSignal) => Promise<void>;
    /** Compares everything, for a new follower and one that is too far behind. */
    readonly compareAll: (signal: AbortSignal) => Promise<void>;
    /** The primary answers again. */
    readonly recovered: () => void;
  }) {
    this.#feed = parts.feed;
    this.#shelf = parts.shelf;
    this.#clock = parts.clock;
    this.#take = parts.take;
    this.#compareAll = parts.compareAll;
    this.#recovered = parts.recovered;
  }

  get state(): FollowState {
    return this.#state;
  }

  start(): void {
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#abort.abort(new Error('the mirror is shutting down'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    let waitMs = backOffMs.first;
    this.#note({ cursor: await this.#shelf.load() });
    while (!signal.aborted) {
      try {
        await this.#step(signal);
        waitMs = backOffMs.first;
      } catch (error) {
        if (signal.aborted) return;
        const lastError = error instanceof Error ? error.message : String(error);
        const { failingSinceMs = this.#clock.wallMs() } = this.#state;
        this.#note({ lastError, failingSinceMs });
        await pause(waitMs, signal).catch(() => {});
        waitMs = Math.min(waitMs * 2, backOffMs.max);
      }
    }
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { cursor } = this.#state;
    if (cursor === undefined) return this.#beginAnew(signal);
    try {
      const { changes, latest } = await this.#feed.changes(cursor, waitSeconds, signal);
      this.#answered(cursor, latest);
      const last = changes.at(-1);
      if (last === undefined) return;
      await pause(settleMs, signal);
      await this.#take(changes, signal);
      await this.#moveTo({ log: cursor.log, seq: last.seq });
    } catch (error) {
      if (!(error instanceof LogTooShort)) throw error;
      await this.#beginAnew(signal);
    }
  }

  /** What changes while everything is compared comes by the feed afterwards. */
  async #beginAnew(signal: AbortSignal): Promise<void> {
    const latest = await this.#feed.latest(signal);
    this.#answered(undefined, latest.seq);
    await this.#compareAll(signal);
    await this.#moveTo(latest);
  }

  async #moveTo(cursor: FeedCursor): Promise<void> {
    await this.#shelf.save(cursor);
    const { latest = cursor.seq, lastAnswerMs } = this.#state;
    // What came since is no older than the answer that told of it.
    this.#note({ cursor, behindSinceMs: cursor.seq < latest ? lastAnswerMs : undefined });
  }

  #answered(cursor: FeedCursor | undefined, latest: number): void {
    const now = this.#clock.wallMs();
    const { behindSinceMs = now, failingSinceMs } = this.#state;
    const isBehind = (cursor?.seq ?? 0) < latest;
    this.#note({
      latest,
      lastAnswerMs: now,
      behindSinceMs: isBehind ? behindSinceMs : undefined,
      failingSinceMs: undefined,
      lastError: undefined,
    });
    if (failingSinceMs !== undefined) this.#recovered();
  }

  #note(state: Partial<FollowState>): void {
    this.#state = { ...this.#state, ...state };
  }
}

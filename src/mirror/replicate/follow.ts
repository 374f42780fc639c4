import type { Clock } from '../../base/clock.ts';
import {
  LogTooShort,
  type PrimaryAdmin,
  type PrimaryChange,
} from '../../upstream/primary/admin.ts';
import { pause } from '../retry.ts';

/** How long one question waits for a change; an idle line costs one question in this time. */
const waitSeconds = 30;

/** After a failure: the first wait and the longest; it doubles. */
const backOffMs = { first: 500, max: 15_000 };

/** Where a follower is: the primary's number of the last change that was taken up. */
export interface CursorShelf {
  load(): Promise<number | undefined>;
  save(seq: number): Promise<void>;
}

export interface FollowState {
  readonly cursor: number | undefined;
  /** Of the primary, when it last answered. */
  readonly latest: number | undefined;
  /** Wall clock, milliseconds. */
  readonly lastAnswerMs: number | undefined;
  readonly behindSinceMs: number | undefined;
  readonly lastError: string | undefined;
}

/** Follows the feed of a primary: one long question at a time, as long as the process lives. */
export class Follower {
  readonly #admin: PrimaryAdmin;
  readonly #shelf: CursorShelf;
  readonly #clock: Clock;
  readonly #taken: (changes: readonly PrimaryChange[]) => Promise<void>;
  readonly #compareAll: () => Promise<void>;
  readonly #abort = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #state: FollowState = {
    cursor: undefined,
    latest: undefined,
    lastAnswerMs: undefined,
    behindSinceMs: undefined,
    lastError: undefined,
  };

  constructor(parts: {
    readonly admin: PrimaryAdmin;
    readonly shelf: CursorShelf;
    readonly clock: Clock;
    /** Takes up changes for good: what it begins outlives the process. */
    readonly taken: (changes: readonly PrimaryChange[]) => Promise<void>;
    /** Begins a comparison of everything, for a new follower and one that is too far behind. */
    readonly compareAll: () => Promise<void>;
  }) {
    this.#admin = parts.admin;
    this.#shelf = parts.shelf;
    this.#clock = parts.clock;
    this.#taken = parts.taken;
    this.#compareAll = parts.compareAll;
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
        this.#note({ lastError: error instanceof Error ? error.message : String(error) });
        await pause(waitMs, signal).catch(() => {});
        waitMs = Math.min(waitMs * 2, backOffMs.max);
      }
    }
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { cursor } = this.#state;
    if (cursor === undefined) return this.#beginAnew(signal);
    try {
      const { changes, latest } = await this.#admin.changes(cursor, waitSeconds, signal);
      this.#answered(latest);
      const last = changes.at(-1);
      if (last === undefined) return;
      await this.#taken(changes);
      await this.#moveTo(last.seq);
    } catch (error) {
      if (!(error instanceof LogTooShort)) throw error;
      await this.#beginAnew(signal);
    }
  }

  /** What changes while everything is compared comes by the feed afterwards. */
  async #beginAnew(signal: AbortSignal): Promise<void> {
    const latest = await this.#admin.latest(signal);
    this.#answered(latest);
    await this.#compareAll();
    await this.#moveTo(latest);
  }

  async #moveTo(seq: number): Promise<void> {
    await this.#shelf.save(seq);
    this.#note({ cursor: seq });
    this.#answered(this.#state.latest ?? seq);
  }

  #answered(latest: number): void {
    const now = this.#clock.wallMs();
    const isBehind = (this.#state.cursor ?? 0) < latest;
    const behindSinceMs = isBehind ? (this.#state.behindSinceMs ?? now) : undefined;
    this.#note({ latest, lastAnswerMs: now, behindSinceMs, lastError: undefined });
  }

  #note(state: Partial<FollowState>): void {
    this.#state = { ...this.#state, ...state };
  }
}

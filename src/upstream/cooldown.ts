import type { Clock } from '../base/clock.ts';

/** What a request is to a limit. A `pull` is the GET of a manifest, a `check` all that is not named here. */
export type LimitedKind = 'pull' | 'blob' | 'referrers' | 'check';

/**
 * What a 429 closes. Docker Hub's pull limit refuses GETs of manifests and still answers HEADs and blobs;
 * ghcr.io limits its referrers alone; a limit of everything (Docker Hub's abuse limit) shows at a HEAD,
 * a token or a list.
 */
export type LimitedScope = 'pulls' | 'blobs' | 'referrers' | 'all';

/** Something of an upstream that is not asked for a while. */
export interface LimitPause {
  readonly scope: LimitedScope;
  readonly secondsLeft: number;
}

const scopeOf: Readonly<Record<LimitedKind, LimitedScope>> = {
  pull: 'pulls',
  blob: 'blobs',
  referrers: 'referrers',
  check: 'all',
};

/** After a 429 that names no time; it doubles up to the maximum while 429s follow each other. */
const firstPauseSeconds = 15;
const pauseSecondsMax = 15 * 60;

/** The longest Retry-After that is kept to without looking again. */
const retryAfterSecondsMax = 60 * 60;

interface Pause {
  readonly untilMs: number;
  /** 429s that followed each other without another answer between. */
  readonly inARow: number;
  isProbing: boolean;
}

/**
 * Leaves an upstream alone after a 429, for as long as Retry-After says; then one request probes.
 *
 *   open ──429──▶ paused ──time over──▶ one probe ──answer──▶ open
 *                    ▲                      │
 *                    └────────429───────────┘
 *
 * A limit is one account's: with another login the upstream is asked at once.
 */
export class Cooldown {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #pauses = new Map<LimitedScope, Pause>();
  #account = '';

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** What is paused now. */
  get pauses(): LimitPause[] {
    const now = this.#clock.monotonicMs();
    return Array.from(this.#pauses, ([scope, { untilMs }]) => ({
      scope,
      secondsLeft: Math.ceil((untilMs - now) / 1000),
    })).filter(({ secondsLeft }) => secondsLeft > 0);
  }

  /**
   * Seconds until such a request may go out; undefined when it may now. Changes nothing.
   * @param account of that login; the one that was limited last, when it is not given
   */
  secondsLeft(kind: LimitedKind, account: string = this.#account): number | undefined {
    if (this.#pauses.size === 0 || account !== this.#account) return undefined;
    const now = this.#clock.monotonicMs();
    let left: number | undefined;
    for (const scope of scopesOf(kind)) {
      const pause = this.#pauses.get(scope);
      if (pause === undefined) continue;
      const ms = pause.untilMs - now;
      if (ms > 0) left = Math.max(left ?? 0, Math.ceil(ms / 1000));
      else if (pause.isProbing) left ??= 1;
    }
    return left;
  }

  /** A request goes out, as `secondsLeft` allowed; after a pause it is the probe. */
  begin(kind: LimitedKind, account: string): void {
    if (account !== this.#account) {
      this.#account = account;
      this.#pauses.clear();
    }
    for (const scope of scopesOf(kind)) {
      const pause = this.#pauses.get(scope);
      if (pause !== undefined) pause.isProbing = true;
    }
  }

  /** Upstream answered 429. @param retryAfterSeconds what it asked for, when it did */
  limited(
    kind: LimitedKind,
    retryAfterSeconds: number | undefined,
  ): { readonly scope: LimitedScope; readonly pauseSeconds: number } {
    const scope = scopeOf[kind];
    const now = this.#clock.monotonicMs();
    // Of the wider scope, which it may have probed as well, a 429 of this one says nothing.
    this.abandoned(kind);
    const before = this.#pauses.get(scope);
    // Requests that were on their way together each bring a 429: it is one, and the longest pause counts.
    const isRunning = before !== undefined && before.untilMs > now;
    const inARow = (before?.inARow ?? 0) + (isRunning ? 0 : 1);
    const ownSeconds = Math.min(firstPauseSeconds * 2 ** (inARow - 1), pauseSecondsMax);
    const asked = Math.min(retryAfterSeconds ?? ownSeconds, retryAfterSecondsMax);
    // A little longer at random, so that many mirrors do not come back together.
    const pauseSeconds = Math.max(1, asked) * (1 + this.#random() / 10);
    const untilMs = Math.max(now + pauseSeconds * 1000, before?.untilMs ?? 0);
    this.#pauses.set(scope, { untilMs, inARow, isProbing: false });
    return { scope, pauseSeconds };
  }

  /** Upstream answered something else: what was paused and is over begins anew. */
  answered(kind: LimitedKind): void {
    const now = this.#clock.monotonicMs();
    for (const scope of scopesOf(kind)) {
      const pause = this.#pauses.get(scope);
      if (pause !== undefined && pause.untilMs <= now) this.#pauses.delete(scope);
    }
  }

  /** There was no answer: the next request may probe. */
  abandoned(kind: LimitedKind): void {
    for (const scope of scopesOf(kind)) {
      const pause = this.#pauses.get(scope);
      if (pause !== undefined) pause.isProbing = false;
    }
  }
}

function scopesOf(kind: LimitedKind): LimitedScope[] {
  return kind === 'check' ? ['all'] : [scopeOf[kind], 'all'];
}

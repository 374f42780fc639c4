import type { Clock } from './clock.ts';
import { priorities, type Priority } from './limiter.ts';

/** How much may come at once after a pause: this much of a second's worth. */
const burstSeconds = 0.25;

/** Not more often than this it looks who may go on; what has come due meanwhile goes on together. */
const tickMs = 5;

interface Waiting {
  readonly amount: number;
  readonly priority: () => Priority;
  readonly goOn: () => void;
}

/** What slows a transfer down to a rate. */
export interface Pace {
  /** Whether somebody of that priority or a higher one waits: one more of it would only wait, too. */
  isShortFor(priority: Priority): boolean;
  /** Takes now, and answers undefined; or a promise of when it may go on. Rejects with the signal's reason. */
  take(amount: number, priority: () => Priority, signal?: AbortSignal): Promise<void> | undefined;
}

/** Two rates that both hold; the own one only while no client waits for the transfer. */
export class OwnAndShared implements Pace {
  readonly #own: Pace;
  readonly #shared: Pace | undefined;

  constructor(own: Pace, shared: Pace | undefined) {
    this.#own = own;
    this.#shared = shared;
  }

  isShortFor(priority: Priority): boolean {
    const isShort = priority !== 'client' && this.#own.isShortFor(priority);
    return isShort || this.#shared?.isShortFor(priority) === true;
  }

  take(amount: number, priority: () => Priority, signal?: AbortSignal): Promise<void> | undefined {
    const own = priority() === 'client' ? undefined : this.#own.take(amount, priority, signal);
    if (own === undefined) return this.#shared?.take(amount, priority, signal);
    return own.then(() => this.#shared?.take(amount, priority, signal));
  }
}

/**
 * A rate that several share by priority: each priority leaves a share of the burst to those above it,
 * so it goes on only when they want less than there is.
 *
 * What is taken may exceed what is there, since a chunk that has arrived cannot be taken in part; the
 * debt is waited for by whoever comes next. So the rate holds over any second, and a piece larger
 * than the burst passes, too.
 */
export class TokenBucket implements Pace {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #clock: Clock;
  /** Bounded by who takes: each connection, or each request, waits once. */
  readonly #waiting: Waiting[] = [];
  #balance: number;
  #filledMs: number;
  #timer: NodeJS.Timeout | undefined;
  #wakeMs = 0;
  #isClosed = false;

  /** @param perSecond bytes or requests; more than 0 */
  constructor(perSecond: number, clock: Clock) {
    this.#perMs = perSecond / 1000;
    this.#burst = Math.max(1, perSecond * burstSeconds);
    this.#clock = clock;
    this.#balance = this.#burst;
    this.#filledMs = clock.monotonicMs();
  }

  isShortFor(priority: Priority): boolean {
    return this.#first().rank <= priorities.indexOf(priority);
  }

  take(amount: number, priority: () => Priority, signal?: AbortSignal): Promise<void> | undefined {
    signal?.throwIfAborted();
    if (this.#isClosed) return undefined;
    this.#fill();
    const rank = priorities.indexOf(priority());
    if (this.#lacks(rank) < 0 && rank < this.#first().rank) {
      this.#balance -= amount;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        amount,
        priority,
        goOn: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(waiting);
      this.#wakeLater();
    });
  }

  /** What was waited for is over: nobody waits, now or later. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const { goOn } of this.#waiting.splice(0)) goOn();
  }

  #wake(): void {
    this.#timer = undefined;
    this.#fill();
    while (this.#waiting.length > 0) {
      const { at, rank } = this.#first();
      if (this.#lacks(rank) >= 0) break;
      const [next] = this.#waiting.splice(at, 1);
      this.#balance -= next!.amount;
      next!.goOn();
    }
    this.#wakeLater();
  }

  /** When the first may go on, or sooner when that is arranged already. */
  #wakeLater(): void {
    if (this.#waiting.length === 0) return;
    const inMs = Math.max(tickMs, Math.ceil(this.#lacks(this.#first().rank) / this.#perMs));
    const wakeMs = this.#clock.monotonicMs() + inMs;
    if (this.#timer !== undefined && this.#wakeMs <= wakeMs) return;
    clearTimeout(this.#timer);
    this.#wakeMs = wakeMs;
    this.#timer = setTimeout(() => this.#wake(), inMs);
  }

  /** The one that is served next; its rank is beyond all when nobody waits. */
  #first(): { at: number; rank: number } {
    let best = { at: -1, rank: Infinity };
    for (const [at, { priority }] of this.#waiting.entries()) {
      const rank = priorities.indexOf(priority());
      if (rank < best.rank) best = { at, rank };
      if (rank === 0) break;
    }
    return best;
  }

  /** What is missing for that rank to go on; below 0 nothing is. */
  #lacks(rank: number): number {
    return (this.#burst * rank) / priorities.length - this.#balance;
  }

  #fill(): void {
    const now = this.#clock.monotonicMs();
    this.#balance = Math.min(this.#burst, this.#balance + (now - this.#filledMs) * this.#perMs);
    this.#filledMs = now;
  }
}

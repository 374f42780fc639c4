import type { Clock } from '../base/clock.ts';

/** Failures in a row that open the circuit; a lost answer among healthy ones is no outage. */
const failuresToOpen = 5;

/**
 * First and longest time before the next attempt is let through; it doubles in between. A refusal
 * costs nobody a wait, so it is tried again soon; an attempt that takes long makes its client wait.
 */
const cooldownMs = {
  refused: { first: 250, max: 2_000 },
  timeout: { first: 1_000, max: 15_000 },
} as const;

/** Quickly, or after a wait. */
export type FailedHow = 'refused' | 'timeout';

/**
 * Remembers that something does not answer, so that the second request of an outage costs no wait.
 *
 *   closed ──5 failures, or 1 time-out──▶ open ──cool-down over──▶ one probe ──ok──▶ closed
 *                                          ▲                          │
 *                                          └────────fails, longer─────┘
 */
export class Breaker {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failures = 0;
  #openings = 0;
  #openUntilMs: number | undefined;
  #isProbing = false;

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  get isOpen(): boolean {
    return this.#openUntilMs !== undefined;
  }

  /** Whether something failed since it was last well. */
  get hasFailed(): boolean {
    return this.#failures > 0;
  }

  /** Whether a request may go out now. While open, one is let through after each cool-down. */
  admits(): boolean {
    if (this.#openUntilMs === undefined) return true;
    if (this.#isProbing || this.#clock.monotonicMs() < this.#openUntilMs) return false;
    this.#isProbing = true;
    return true;
  }

  /** Upstream answered: anything but a server error counts. Answers whether that closed the circuit. */
  succeeded(): boolean {
    const wasOpen = this.isOpen;
    this.#failures = 0;
    this.#openings = 0;
    this.#openUntilMs = undefined;
    this.#isProbing = false;
    return wasOpen;
  }

  /**
   * Answers whether that opened the circuit. A `timeout`, any slow failure, opens at once.
   * @param times that it was tried
   */
  failed(how: FailedHow, times = 1): boolean {
    this.#failures += times;
    const wasOpen = this.isOpen;
    if (!wasOpen && how === 'refused' && this.#failures < failuresToOpen) return false;
    // What was sent before it opened says nothing new.
    if (wasOpen && !this.#isProbing) return false;
    // Half to full length, at random, so that many mirrors do not knock together.
    const { first, max } = cooldownMs[how];
    const waitMs = Math.min(first * 2 ** this.#openings, max) * (0.5 + this.#random() / 2);
    this.#openUntilMs = this.#clock.monotonicMs() + waitMs;
    this.#openings += 1;
    this.#isProbing = false;
    return !wasOpen;
  }

  /** The request was given up by us; that says nothing about upstream. */
  abandoned(): void {
    this.#isProbing = false;
  }
}

import type { Clock } from '../../src/base/clock.ts';

/** Time that passes when the test says so. */
export class ManualClock implements Clock {
  #nowMs = 0;

  advance(ms: number): void {
    this.#nowMs += ms;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }
}

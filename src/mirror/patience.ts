import { MirrorError } from '../oci/errors.ts';
import { within } from './retry.ts';

/** For an upstream that is known to be down: one request sees whether it is back, hardly felt. */
const downBudgetMs = 25;

/** What is asked of an upstream while a copy is at hand. */
interface Question<T> {
  readonly registry: string;
  readonly isDown: boolean;
  readonly budgetMs: number;
  readonly ask: () => Promise<T>;
  /** Told of an answer that came after nobody waited for it any more. */
  readonly onLate: (answer: T) => Promise<void>;
}

/**
 * How long somebody who could have the copy waits for upstream: no longer than a budget, and not at all
 * while an earlier question to that upstream is over its budget. That question goes on by itself: so
 * one that is slow is believed at last, and one that hangs is asked once, and costs one wait.
 */
export class Patience {
  readonly #late = new Set<string>();

  /** @throws MirrorError UPSTREAM_UNAVAILABLE when there is no answer in time; what `ask` throws */
  async ask<T>({ registry, isDown, budgetMs, ask, onLate }: Question<T>): Promise<T> {
    const late = (): MirrorError =>
      new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${registry} has not answered within ${budgetMs} ms`,
      );
    if (this.#late.has(registry)) throw late();
    const answer = ask();
    let isLate = false;
    const settle = async (): Promise<void> => {
      try {
        const value = await answer;
        if (isLate) await onLate(value);
      } catch {
        // Whoever waited has heard of it; for the next the breaker has.
      } finally {
        this.#late.delete(registry);
      }
    };
    void settle();
    return within(answer, isDown ? Math.min(downBudgetMs, budgetMs) : budgetMs, () => {
      isLate = true;
      this.#late.add(registry);
      return late();
    });
  }
}

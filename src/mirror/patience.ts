import { MirrorError } from '../oci/errors.ts';
import { within } from './retry.ts';

/** For an upstream that is down, or already lets somebody wait: it is asked, and that is hardly felt. */
const suspectBudgetMs = 25;

/** What is asked of an upstream while a copy is at hand. */
interface Question<T> {
  readonly registry: string;
  /** Of what is asked for, there. */
  readonly key: string;
  readonly isDown: boolean;
  readonly budgetMs: number;
  readonly ask: () => Promise<T>;
  /** Told of an answer that came after nobody waited for it any more. */
  readonly onLate: (answer: T) => Promise<void>;
}

/**
 * How long somebody who could have the copy waits for upstream: no longer than a budget, and hardly at
 * all while another question to that upstream is over its budget. A late question goes on by itself, and
 * is not asked again meanwhile: so one that is slow is believed at last, and one that hangs costs one
 * wait. How many go on is bounded by the upstream's connections.
 */
export class Patience {
  readonly #late = new Map<string, Set<string>>();

  /** @throws MirrorError UPSTREAM_UNAVAILABLE when there is no answer in time; what `ask` throws */
  async ask<T>(question: Question<T>): Promise<T> {
    const { registry, key, isDown, budgetMs, ask, onLate } = question;
    const late = this.#lateOf(registry);
    const tooLate = (): MirrorError =>
      new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${registry} has not answered within ${budgetMs} ms`,
      );
    if (late.has(key)) throw tooLate();
    const answer = ask();
    const settle = async (): Promise<void> => {
      try {
        const value = await answer;
        if (late.has(key)) await onLate(value);
      } catch {
        // Whoever waited has heard of it; for the next the breaker has.
      } finally {
        late.delete(key);
      }
    };
    void settle();
    const isSuspect = isDown || late.size > 0;
    return within(answer, isSuspect ? Math.min(suspectBudgetMs, budgetMs) : budgetMs, () => {
      late.add(key);
      return tooLate();
    });
  }

  #lateOf(registry: string): Set<string> {
    const known = this.#late.get(registry);
    if (known !== undefined) return known;
    const late = new Set<string>();
    this.#late.set(registry, late);
    return late;
  }
}

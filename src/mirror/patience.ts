import { MirrorError } from '../oci/errors.ts';
import { within } from './retry.ts';

/** For an upstream that is down, or already lets somebody wait: it is asked, and that is hardly felt. */
const suspectBudgetMs = 25;

/**
 * Late questions to one upstream that go on; the one that is late longest ends for the next. An upstream
 * has some connections for all small questions, and those of clients without a copy must find one.
 */
const lateMax = 2;

/** What is asked of an upstream while a copy is at hand. */
interface Question<T> {
  readonly registry: string;
  /** Of what is asked for, there. */
  readonly key: string;
  readonly isDown: boolean;
  readonly budgetMs: number;
  /**
   * Goes on when nobody waits for it any more, so what comes of it is for `ask` itself to keep; ends
   * when the signal says so.
   */
  readonly ask: (signal: AbortSignal) => Promise<T>;
}

/** What was asked of one upstream, by number. */
interface Asked {
  last: number;
  /** Of those that were answered, the last. */
  answered: number;
  /** Those over their budget, the one that is late longest first. */
  readonly late: Map<string, Late>;
}

interface Late {
  readonly number: number;
  readonly abort: AbortController;
}

/**
 * How long somebody who could have the copy waits for upstream: no longer than a budget, and hardly at
 * all while a question is over its budget and nothing that was asked after it has been answered. A late
 * question goes on by itself, and is not asked again meanwhile: so one that is slow is believed at last,
 * and one that hangs costs one wait.
 */
export class Patience {
  readonly #asked = new Map<string, Asked>();

  /** @throws MirrorError UPSTREAM_UNAVAILABLE when there is no answer in time; what `ask` throws */
  async ask<T>(question: Question<T>): Promise<T> {
    const { registry, key, isDown, budgetMs, ask } = question;
    const asked = this.#askedOf(registry);
    const tooLate = (): MirrorError =>
      new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${registry} has not answered within ${budgetMs} ms`,
      );
    if (asked.late.has(key)) throw tooLate();
    asked.last += 1;
    const number = asked.last;
    const abort = new AbortController();
    const answer = ask(abort.signal);
    answer.then(
      () => {
        asked.answered = Math.max(asked.answered, number);
        asked.late.delete(key);
      },
      // Whoever waited has heard of it; for the next the breaker has.
      () => asked.late.delete(key),
    );
    const isUnanswered = ({ number: late }: Late): boolean => late > asked.answered;
    const isSuspect = isDown || [...asked.late.values()].some(isUnanswered);
    return within(answer, isSuspect ? Math.min(suspectBudgetMs, budgetMs) : budgetMs, () => {
      asked.late.set(key, { number, abort });
      const [longest] = asked.late.values();
      // It says nothing of upstream that we give it up.
      const givenUp = new MirrorError('CANCELLED', 'it is late, and others wait for a connection');
      if (asked.late.size > lateMax) longest?.abort.abort(givenUp);
      return tooLate();
    });
  }

  #askedOf(registry: string): Asked {
    const known = this.#asked.get(registry);
    if (known !== undefined) return known;
    const asked = { last: 0, answered: 0, late: new Map<string, Late>() };
    this.#asked.set(registry, asked);
    return asked;
  }
}

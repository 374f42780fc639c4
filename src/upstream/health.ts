import type { Clock } from '../base/clock.ts';
import { Breaker, type FailedHow } from './breaker.ts';

/** Things that failed, some 200 bytes each; the one that failed first is forgotten first. */
const ailingMax = 1_000;

/** How long what was sent wrong is asked of others first. */
const distrustMs = 10 * 60_000;

/** The first goes first beyond it. */
const distrustedMax = 10_000;

/** What was asked for. */
export interface Subject {
  /** The repository; empty when it is of none. */
  readonly name: string;
  /** The tag, blob or list itself. */
  readonly resource: string;
}

/** How it failed: `unanswered` is a connection or an answer that did not come, `answered` a 5xx. */
export interface Failure {
  readonly kind: 'unanswered' | 'answered';
  readonly how: FailedHow;
  /** Times that it was tried. */
  readonly times: number;
}

/**
 * What is remembered of the failures of one URL. Where no answer comes, the URL is ill, and nothing is
 * asked for a while. A 5xx may be the fault of what was asked for, such as one broken tag: that is left
 * alone, and the URL only when several repositories fail with no success between.
 */
export class Health {
  readonly #clock: Clock;
  readonly #whole: Breaker;
  readonly #ailing = new Map<string, Breaker>();
  /** What was sent wrong, and when last. */
  readonly #distrusted = new Map<string, number>();
  /** Repositories that failed with a 5xx since the last success; of several, two. */
  readonly #failedNames = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#whole = new Breaker(clock);
  }

  /** Whether the URL is left alone. */
  get isDown(): boolean {
    return this.#whole.isOpen;
  }

  /** It sent that, and it was wrong. */
  distrust({ resource }: Subject): void {
    this.#distrusted.delete(resource);
    this.#distrusted.set(resource, this.#clock.monotonicMs());
    forgetFirst(this.#distrusted, distrustedMax);
  }

  /** When it last sent that wrong, on the monotonic scale; -1: never, or long ago. */
  wrongMs({ resource }: Subject): number {
    const ms = this.#distrusted.get(resource) ?? -Infinity;
    return this.#clock.monotonicMs() - ms < distrustMs ? ms : -1;
  }

  /** Whether a failure of that would come out of the blue. */
  isWell({ resource }: Subject): boolean {
    return !this.#whole.hasFailed && !this.#ailing.has(resource);
  }

  /** Whether a request may go out now; its end must be told. */
  admits({ resource }: Subject): boolean {
    const own = this.#ailing.get(resource);
    if (own?.admits() === false) return false;
    if (this.#whole.admits()) return true;
    own?.abandoned();
    return false;
  }

  /** Something came that is no failure. Answers whether that ended an outage of the URL. */
  succeeded({ resource }: Subject): boolean {
    this.#ailing.delete(resource);
    this.#failedNames.clear();
    return this.#whole.succeeded();
  }

  /** Answers whether that began an outage of the URL. */
  failed({ name, resource }: Subject, { kind, how, times }: Failure): boolean {
    if (kind === 'unanswered') {
      this.#ailing.get(resource)?.abandoned();
      return this.#whole.failed(how, times);
    }
    const wasLeftAlone = this.#ailing.get(resource)?.isOpen === true;
    this.#ails(resource, how, times);
    if (this.#failedNames.size < 2) this.#failedNames.add(name);
    // What is known to be broken says nothing new, unless it was the probe of all.
    const isNews = this.#whole.isOpen || (this.#failedNames.size > 1 && !wasLeftAlone);
    return isNews ? this.#whole.failed(how, times) : false;
  }

  /** It failed where the URL sent us, which itself is well. Answers whether that ended an outage of it. */
  failedElsewhere({ resource }: Subject, { how, times }: Omit<Failure, 'kind'>): boolean {
    this.#ails(resource, how, times);
    this.#failedNames.clear();
    return this.#whole.succeeded();
  }

  /** The request ended in a way that says nothing of the URL. */
  abandoned({ resource }: Subject): void {
    this.#ailing.get(resource)?.abandoned();
    this.#whole.abandoned();
  }

  #ails(resource: string, how: FailedHow, times: number): void {
    const breaker = this.#ailing.get(resource) ?? new Breaker(this.#clock);
    breaker.failed(how, times);
    this.#ailing.set(resource, breaker);
    forgetFirst(this.#ailing, ailingMax);
  }
}

function forgetFirst(memory: Map<string, unknown>, max: number): void {
  const [first] = memory.keys();
  if (memory.size > max && first !== undefined) memory.delete(first);
}

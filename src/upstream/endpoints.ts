import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { accountKey } from './account.ts';
import type { Cooldown, LimitedKind, LimitPause } from './cooldown.ts';
import type { Answer } from './exchange.ts';
import type { Failure, Health, Subject } from './health.ts';
import { discard } from './read-body.ts';
import { isErrorPage } from './refusal.ts';
import type { Credentials, TokenSource } from './tokens.ts';

/** A failure that takes longer makes clients wait, whatever it is: the breaker opens at once. */
const quickFailureMs = 1_000;

/** Before a lost answer is asked for once more; at random, so that many do not come back together. */
const secondTryMs = { least: 50, most: 150 } as const;

/** Statuses of a server that may do better in a moment. */
const passingStatuses: ReadonlySet<unknown> = new Set([500, 502, 503, 504]);

/** What is asked of an upstream, as far as its limits and failures are concerned. */
export interface Question extends Subject {
  readonly kind: LimitedKind;
  /** Whether asking twice does no harm, and nobody else sees to it. */
  readonly isRepeatable: boolean;
  readonly signal: AbortSignal | undefined;
}

/** One URL of an upstream, and what is remembered of it. */
export interface Endpoint {
  readonly url: URL;
  readonly health: Health;
  readonly cooldown: Cooldown;
  readonly tokens: TokenSource;
}

export interface EndpointAnswer extends Answer {
  /** Told that it was wrong: the other URLs are asked first, for a while. Answers whether there are any. */
  readonly distrust: () => boolean;
}

/** The URLs of one upstream, asked in order; those that failed or limit us are left alone for a while. */
export class Endpoints {
  readonly #registry: string;
  readonly #all: readonly Endpoint[];
  readonly #clock: Clock;
  readonly #observe: Observe;

  constructor(registry: string, all: readonly Endpoint[], clock: Clock, observe: Observe) {
    this.#registry = registry;
    this.#all = all;
    this.#clock = clock;
    this.#observe = observe;
  }

  /** Whether none would be asked for a blob now. */
  get areDown(): boolean {
    return this.#all.every(
      ({ health, cooldown }) => health.isDown || cooldown.secondsLeft('blob') !== undefined,
    );
  }

  /** What is paused at all of them, until the first is asked again. */
  get pauses(): LimitPause[] {
    const [first = [], ...others] = this.#all.map(({ cooldown }) => cooldown.pauses);
    return first.flatMap(({ scope, secondsLeft }) => {
      const same = others.map((pauses) => pauses.find((pause) => pause.scope === scope));
      if (same.includes(undefined)) return [];
      const seconds = same.map((pause) => pause?.secondsLeft ?? 0);
      return [{ scope, secondsLeft: Math.min(secondsLeft, ...seconds) }];
    });
  }

  /**
   * The answer of the first that has what is asked for. One that says it has not, or may not show it,
   * may be a mirror that keeps a part: the next is asked, and the first such answer stands when none
   * has it, unless one could not be asked, for that one might.
   * @throws MirrorError UPSTREAM_LIMITED, UPSTREAM_UNAVAILABLE, UPSTREAM_INVALID: none answered, or not
   *   rightly, or none is asked at the moment; DENIED: our login was refused; whatever else `ask` throws,
   *   at once
   */
  async inOrder(
    question: Question,
    credentials: Credentials | undefined,
    ask: (endpoint: Endpoint) => Promise<Answer>,
  ): Promise<EndpointAnswer> {
    // What a refusal says is read by whoever gets it: its body stays until it is known which one stands.
    const refusals: EndpointAnswer[] = [];
    let answer: EndpointAnswer | undefined;
    try {
      answer = await this.#firstOf(question, credentials, ask, refusals);
      return answer;
    } finally {
      for (const refusal of refusals) if (refusal !== answer) discard(refusal.body);
    }
  }

  /** @param refusals is given those that there were, the one that is answered included */
  async #firstOf(
    question: Question,
    credentials: Credentials | undefined,
    ask: (endpoint: Endpoint) => Promise<Answer>,
    refusals: EndpointAnswer[],
  ): Promise<EndpointAnswer> {
    const { kind } = question;
    const account = accountKey(credentials);
    let refusal: EndpointAnswer | MirrorError | undefined;
    let failure: MirrorError | undefined;
    let isOneUnasked = false;
    const order = this.#orderFor(question);
    for (const endpoint of order) {
      const { health, cooldown } = endpoint;
      const seconds = cooldown.secondsLeft(kind, account);
      if (seconds !== undefined) {
        failure ??= this.#limited('limited our requests (429) a moment ago', seconds);
        continue;
      }
      if (!health.admits(question)) {
        isOneUnasked = true;
        continue;
      }
      cooldown.begin(kind, account);
      try {
        const isLast = endpoint === order.at(-1);
        const distrust = (): boolean => {
          health.distrust(question);
          return order.length > 1;
        };
        const answer = {
          ...(await this.#askTwice(endpoint, question, isLast, ask)),
          distrust,
        };
        cooldown.answered(kind);
        this.#succeeded(endpoint, question);
        if (!isRefusal(answer) || this.#all.length === 1) return answer;
        refusals.push(answer);
        if (answer.status === 404 && isErrorPage(answer)) {
          failure = new MirrorError(
            'UPSTREAM_UNAVAILABLE',
            `${endpoint.url.host} answered 404 with a web page: something in between, and no registry`,
          );
          continue;
        }
        if (refusal === undefined) refusal = answer;
        else if (!(refusal instanceof MirrorError) && isDenial(answer)) refusal = answer;
      } catch (error) {
        const met = this.#heed(endpoint, question, error);
        if (met.code === 'DENIED') refusal = met;
        else failure = met;
      }
    }
    // A denial is heeded whatever the others would have said; that something is not there is not.
    if (refusal instanceof MirrorError) throw refusal;
    const haveAllAnswered = failure === undefined && !isOneUnasked;
    if (refusal !== undefined && (haveAllAnswered || isDenial(refusal))) return refusal;
    throw (
      failure ??
      new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${this.#registry} did not answer a moment ago and is not asked again yet`,
      )
    );
  }

  /** What a failure says of an endpoint is remembered; where the next may be asked, it is answered. @throws it */
  #heed(endpoint: Endpoint, question: Question, error: unknown): MirrorError {
    const { health, cooldown } = endpoint;
    const { kind } = question;
    if (isMirrorError(error, 'UPSTREAM_LIMITED')) {
      if (!isElsewhere(error)) return this.#pause(endpoint, question, error);
      // The registry itself has answered: it sent us there.
      cooldown.answered(kind);
      this.#succeeded(endpoint, question);
      return error;
    }
    cooldown.abandoned(kind);
    // Its health has been told.
    if (isMirrorError(error, 'UPSTREAM_UNAVAILABLE')) return error;
    health.abandoned(question);
    if (isMirrorError(error, 'DENIED', 'UPSTREAM_INVALID')) return error;
    throw error;
  }

  /**
   * Once more, when an answer was lost quickly and out of the blue: not during an outage, and not
   * where another URL can be asked. It counts as a failure only when both fail.
   */
  async #askTwice(
    endpoint: Endpoint,
    question: Question,
    isLast: boolean,
    ask: (endpoint: Endpoint) => Promise<Answer>,
  ): Promise<Answer> {
    for (let times = 1; ; times += 1) {
      const startMs = this.#clock.monotonicMs();
      try {
        return await ask(endpoint);
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_UNAVAILABLE')) throw error;
        const isQuick = this.#clock.monotonicMs() - startMs <= quickFailureMs;
        const isRepeatable = question.isRepeatable && isLast && times === 1;
        const mayPass = isRepeatable && isQuick && isPassing(error);
        if (!mayPass || !endpoint.health.isWell(question)) {
          this.#failed(endpoint, question, error, { how: isQuick ? 'refused' : 'timeout', times });
          throw error;
        }
        const { least, most } = secondTryMs;
        const { signal } = question;
        const waitMs = least + Math.random() * (most - least);
        await sleep(waitMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
      }
    }
  }

  /** Who was wrong about it last is asked last: of several that were suspected, it may be the only one. */
  #orderFor(question: Question): readonly Endpoint[] {
    return this.#all.toSorted((a, b) => a.health.wrongMs(question) - b.health.wrongMs(question));
  }

  #pause(endpoint: Endpoint, question: Question, error: MirrorError): MirrorError {
    // Who limits us is there.
    this.#succeeded(endpoint, question);
    const { kind } = question;
    const { scope, pauseSeconds } = endpoint.cooldown.limited(kind, error.retryAfterSeconds);
    this.#observe({ kind: 'upstream-limited', registry: this.#registry, scope, pauseSeconds });
    return this.#limited('limits our requests (429)', Math.ceil(pauseSeconds), error);
  }

  #limited(what: string, retryAfterSeconds: number, cause?: unknown): MirrorError {
    return new MirrorError(
      'UPSTREAM_LIMITED',
      `upstream ${this.#registry} ${what}; it is asked again in ${retryAfterSeconds} seconds`,
      { retryAfterSeconds, cause },
    );
  }

  #succeeded(endpoint: Endpoint, question: Question): void {
    if (endpoint.health.succeeded(question)) this.#tellClosed(endpoint);
  }

  #failed(
    endpoint: Endpoint,
    question: Question,
    error: MirrorError,
    failure: Omit<Failure, 'kind'>,
  ): void {
    const { health } = endpoint;
    if (isElsewhere(error)) {
      if (health.failedElsewhere(question, failure)) this.#tellClosed(endpoint);
      return;
    }
    const kind = error.detail?.['status'] === undefined ? 'unanswered' : 'answered';
    if (!health.failed(question, { ...failure, kind })) return;
    const { message } = error;
    this.#observe({ kind: 'breaker-changed', registry: this.#registry, state: 'open', message });
  }

  #tellClosed({ url }: Endpoint): void {
    const message = `${url.host} answers again`;
    this.#observe({ kind: 'breaker-changed', registry: this.#registry, state: 'closed', message });
  }
}

/** Whether a host failed that the registry redirects to, and not the registry. */
function isElsewhere({ detail }: MirrorError): boolean {
  return detail?.['host'] !== undefined;
}

/** No answer at all, or a status that passes, unless upstream says itself when to come back. */
function isPassing({ detail, retryAfterSeconds }: MirrorError): boolean {
  const status = detail?.['status'];
  return retryAfterSeconds === undefined && (status === undefined || passingStatuses.has(status));
}

function isRefusal(answer: Answer): boolean {
  return answer.status === 404 || isDenial(answer);
}

function isDenial({ status }: Answer): boolean {
  return status === 401 || status === 403;
}

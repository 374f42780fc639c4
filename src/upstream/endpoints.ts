import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { accountKey } from './account.ts';
import type { Breaker } from './breaker.ts';
import type { Cooldown, LimitedKind, LimitPause } from './cooldown.ts';
import { discard, type Answer } from './exchange.ts';
import type { Credentials, TokenSource } from './tokens.ts';

/** A failure that takes longer makes clients wait, whatever it is: the breaker opens at once. */
const quickFailureMs = 1_000;

/** One URL of an upstream, and what is remembered of it. */
export interface Endpoint {
  readonly url: URL;
  readonly breaker: Breaker;
  readonly cooldown: Cooldown;
  readonly tokens: TokenSource;
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
      ({ breaker, cooldown }) => breaker.isOpen || cooldown.secondsLeft('blob') !== undefined,
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
   * @throws MirrorError UPSTREAM_LIMITED, UPSTREAM_UNAVAILABLE: none answered, or none is asked at the
   *   moment; DENIED: our login was refused; whatever else `ask` throws, at once
   */
  async inOrder(
    kind: LimitedKind,
    credentials: Credentials | undefined,
    ask: (endpoint: Endpoint) => Promise<Answer>,
  ): Promise<Answer> {
    const account = accountKey(credentials);
    let refusal: Answer | MirrorError | undefined;
    let failure: MirrorError | undefined;
    let isOneUnasked = false;
    for (const endpoint of this.#all) {
      const { breaker, cooldown } = endpoint;
      const seconds = cooldown.secondsLeft(kind, account);
      if (seconds !== undefined) {
        failure ??= this.#limited('limited our requests (429) a moment ago', seconds);
        continue;
      }
      if (!breaker.admits()) {
        isOneUnasked = true;
        continue;
      }
      cooldown.begin(kind, account);
      const startMs = this.#clock.monotonicMs();
      try {
        const answer = await ask(endpoint);
        cooldown.answered(kind);
        this.#succeeded(endpoint);
        if (!isRefusal(answer) || this.#all.length === 1) return answer;
        discard(answer.body);
        if (refusal === undefined) refusal = answer;
        else if (!(refusal instanceof MirrorError) && isDenial(answer)) refusal = answer;
      } catch (error) {
        if (isMirrorError(error, 'UPSTREAM_LIMITED')) {
          failure = this.#pause(endpoint, kind, error);
          continue;
        }
        cooldown.abandoned(kind);
        if (isMirrorError(error, 'UPSTREAM_UNAVAILABLE')) {
          failure = error;
          this.#failed(endpoint, error, this.#clock.monotonicMs() - startMs);
          continue;
        }
        breaker.abandoned();
        if (!isMirrorError(error, 'DENIED')) throw error;
        refusal = error;
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

  #pause(endpoint: Endpoint, kind: LimitedKind, error: MirrorError): MirrorError {
    const { scope, pauseSeconds } = endpoint.cooldown.limited(kind, error.retryAfterSeconds);
    // Who limits us is there.
    this.#succeeded(endpoint);
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

  #succeeded({ breaker, url }: Endpoint): void {
    if (!breaker.succeeded()) return;
    const message = `${url.host} answers again`;
    const registry = this.#registry;
    this.#observe({ kind: 'breaker-changed', registry, state: 'closed', message });
  }

  #failed({ breaker }: Endpoint, { message }: MirrorError, tookMs: number): void {
    if (!breaker.failed(tookMs > quickFailureMs ? 'timeout' : 'refused')) return;
    const registry = this.#registry;
    this.#observe({ kind: 'breaker-changed', registry, state: 'open', message });
  }
}

function isRefusal(answer: Answer): boolean {
  return answer.status === 404 || isDenial(answer);
}

function isDenial({ status }: Answer): boolean {
  return status === 401 || status === 403;
}

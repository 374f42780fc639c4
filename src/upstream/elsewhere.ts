import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { Breaker } from './breaker.ts';
import { Cooldown } from './cooldown.ts';
import type { Answer } from './exchange.ts';
import { discard } from './read-body.ts';
import { retryAfterSeconds } from './retry-after.ts';

/** Hosts that are remembered, some hundred bytes each; the one that was met first goes first. */
const hostsMax = 100;

/** A failure that takes longer makes clients wait: the host is left alone at once. */
const quickFailureMs = 1_000;

interface Host {
  readonly breaker: Breaker;
  readonly cooldown: Cooldown;
}

/**
 * The hosts that an upstream redirects to, such as a CDN. One that limits us or does not answer is left
 * alone for a while, and the registry and its other hosts are asked as before. Errors that are a host's
 * have it in their detail.
 */
export class Elsewhere {
  readonly #registry: string;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #hosts = new Map<string, Host>();

  constructor(registry: string, clock: Clock, observe: Observe) {
    this.#registry = registry;
    this.#clock = clock;
    this.#observe = observe;
  }

  /** @throws MirrorError UPSTREAM_LIMITED, UPSTREAM_UNAVAILABLE; whatever `send` throws */
  async ask(url: URL, send: () => Promise<Answer>): Promise<Answer> {
    const { breaker, cooldown } = this.#hostOf(url);
    const secondsLeft = cooldown.secondsLeft('blob');
    if (secondsLeft !== undefined) throw this.#limited(url, secondsLeft);
    if (!breaker.admits()) {
      throw new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `${url.host}, where upstream ${this.#registry} sends us, did not answer a moment ago and is not asked again yet`,
        { detail: { host: url.host } },
      );
    }
    cooldown.begin('blob', '');
    const startMs = this.#clock.monotonicMs();
    let answer: Answer;
    try {
      answer = await send();
    } catch (error) {
      cooldown.abandoned('blob');
      if (!isMirrorError(error, 'UPSTREAM_UNAVAILABLE')) {
        breaker.abandoned();
        throw error;
      }
      const isQuick = this.#clock.monotonicMs() - startMs <= quickFailureMs;
      breaker.failed(isQuick ? 'refused' : 'timeout');
      throw new MirrorError(error.code, error.message, {
        cause: error,
        detail: { host: url.host },
      });
    }
    breaker.succeeded();
    if (answer.status !== 429) {
      cooldown.answered('blob');
      return answer;
    }
    discard(answer.body);
    const asked = retryAfterSeconds(answer.headers, this.#clock);
    const { scope, pauseSeconds } = cooldown.limited('blob', asked);
    const { host } = url;
    this.#observe({
      kind: 'upstream-limited',
      registry: this.#registry,
      host,
      scope,
      pauseSeconds,
    });
    throw this.#limited(url, Math.ceil(pauseSeconds));
  }

  #hostOf({ origin }: URL): Host {
    const known = this.#hosts.get(origin);
    if (known !== undefined) return known;
    const host = { breaker: new Breaker(this.#clock), cooldown: new Cooldown(this.#clock) };
    this.#hosts.set(origin, host);
    const [oldest] = this.#hosts.keys();
    if (this.#hosts.size > hostsMax && oldest !== undefined) this.#hosts.delete(oldest);
    return host;
  }

  #limited({ host }: URL, retryAfterSeconds: number): MirrorError {
    return new MirrorError(
      'UPSTREAM_LIMITED',
      `${host}, where upstream ${this.#registry} sends us, limits our requests (429); it is asked again in ${retryAfterSeconds} seconds`,
      { retryAfterSeconds, detail: { host } },
    );
  }
}

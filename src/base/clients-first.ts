import type { Clock } from './clock.ts';
import type { Priority } from './limiter.ts';

/** Clients that have taken nothing for so long are done: between two layers of a pull there are gaps. */
const quietMs = 1_000;

/** While clients take, one of the others has a turn so often, and may bring so much in it. */
const turnEveryMs = 1_000;
const turnBytes = 256 * 1024;

/** So often those who stand back look whether it is their turn. */
const lookMs = 50;

/**
 * The order at an upstream whose link nobody has measured: while clients take, prewarming and sync let go
 * of their connections and go on later where they were. To read them slower would not do: what upstream
 * sends into their buffers, megabytes each, is what the clients wait for.
 */
export class ClientsFirst {
  readonly #clock: Clock;
  #clientMs = -Infinity;
  #turnMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Bytes have come over a connection.
   * @param broughtBytes all that it has brought so far
   * @returns whether it should be let go
   */
  take(priority: Priority, broughtBytes: number): boolean {
    if (standsBack(priority)) return this.isBusyFor(priority) && broughtBytes >= turnBytes;
    this.#clientMs = this.#clock.monotonicMs();
    return false;
  }

  /** Whether clients take, and that priority stands back for them. */
  isBusyFor(priority: Priority): boolean {
    return standsBack(priority) && this.#clock.monotonicMs() - this.#clientMs < quietMs;
  }

  /** Resolves when a connection may be begun. Rejects with the signal's reason. */
  async turn(priority: () => Priority, signal: AbortSignal): Promise<void> {
    if (!standsBack(priority())) this.#clientMs = this.#clock.monotonicMs();
    while (this.isBusyFor(priority())) {
      const now = this.#clock.monotonicMs();
      if (now - this.#turnMs >= turnEveryMs) {
        this.#turnMs = now;
        return;
      }
      await sleep(lookMs, signal);
    }
  }
}

/** What is read ahead is for a client that is there. */
function standsBack(priority: Priority): boolean {
  return priority === 'prewarm' || priority === 'sync';
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', leave);
      resolve();
    }, ms);
    signal.addEventListener('abort', leave, { once: true });
  });
}

/** Who waits for upstream; the first of these is served first, and within one the earlier. */
export const priorities = ['client', 'read-ahead', 'prewarm', 'sync'] as const;

export type Priority = (typeof priorities)[number];

interface Waiting {
  readonly priority: () => Priority;
  readonly start: () => void;
}

/** What prewarming and sync leave free of every four places, so that a client finds one at once. */
const reservedOfFour = 1;

/** How often those who wait although a place is free are asked whether a client waits for them now. */
const lookAgainMs = 100;

/**
 * At most so many at a time, the rest in a queue by priority. The priority is asked when a place is
 * free, so work that a client has begun to wait for overtakes what it stood behind.
 */
export class Limiter {
  readonly #slots: number;
  readonly #queueMax: number;
  readonly #queue: Waiting[] = [];
  #running = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(slots: number, queueMax: number) {
    this.#slots = slots;
    this.#queueMax = queueMax;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /**
   * Resolves with the function that gives the place back (once; more calls do nothing), or with
   * undefined when the queue is full. Rejects with the signal's reason.
   */
  acquire(
    priority: () => Priority,
    signal: AbortSignal | undefined,
  ): Promise<(() => void) | undefined> {
    signal?.throwIfAborted();
    if (this.#running < this.#slotsFor(priority())) {
      this.#running += 1;
      return Promise.resolve(this.#releaseOnce());
    }
    if (this.#queue.length >= this.#queueMax) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        priority,
        start: () => {
          signal?.removeEventListener('abort', leave);
          resolve(this.#releaseOnce());
        },
      };
      const leave = (): void => {
        const at = this.#queue.indexOf(waiting);
        if (at < 0) return;
        this.#queue.splice(at, 1);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#queue.push(waiting);
      this.#lookAgainLater();
    });
  }

  #releaseOnce(): () => void {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#running -= 1;
      this.#startNext();
      this.#lookAgainLater();
    };
  }

  #lookAgainLater(): void {
    const isPointless = this.#queue.length === 0 || this.#running >= this.#slots;
    if (isPointless || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#startNext();
      this.#lookAgainLater();
    }, lookAgainMs);
  }

  #slotsFor(priority: Priority): number {
    if (priority === 'client' || priority === 'read-ahead') return this.#slots;
    return Math.max(1, this.#slots - Math.floor((this.#slots * reservedOfFour) / 4));
  }

  #startNext(): void {
    let best = -1;
    let bestRank: number = priorities.length;
    for (const [at, waiting] of this.#queue.entries()) {
      const rank = priorities.indexOf(waiting.priority());
      if (rank < bestRank) {
        best = at;
        bestRank = rank;
        if (rank === 0) break;
      }
    }
    if (best < 0 || this.#running >= this.#slotsFor(priorities[bestRank]!)) return;
    const [next] = this.#queue.splice(best, 1);
    this.#running += 1;
    next?.start();
  }
}

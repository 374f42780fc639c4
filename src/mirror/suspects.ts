import { LRUCache } from 'lru-cache';

/** How long upstream's word about something is doubted after wrong bytes; a client's retries are over then. */
const suspectMs = 10 * 60_000;

const suspectsMax = 10_000;

/** What is on its way, or was a while ago, and the bodies that it came in; of many the first. */
const arrivedMax = 1_000;
const sendersMax = 16;

/**
 * What upstream has sent wrong lately, by digest. A part from the middle of a cold blob completes nothing
 * and goes out at once; of these it may complete what a client was cut off from, so it waits. Whoever
 * sent it is asked for it last.
 */
export class Suspects {
  readonly #wrong = new LRUCache<string, true>({ max: suspectsMax, ttl: suspectMs });
  readonly #senders = new LRUCache<string, Set<() => unknown>>({ max: arrivedMax });

  has(digest: string): boolean {
    return this.#wrong.has(digest);
  }

  /** @param distrust tells the sender that it was wrong */
  sentBy(digest: string, distrust: () => unknown): void {
    const senders = this.#senders.get(digest) ?? new Set();
    if (senders.size < sendersMax) senders.add(distrust);
    this.#senders.set(digest, senders);
  }

  add(digest: string): void {
    this.#wrong.set(digest, true);
    for (const distrust of this.#senders.get(digest) ?? []) distrust();
    this.#senders.delete(digest);
  }
}

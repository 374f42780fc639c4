import type { Clock } from '../../base/clock.ts';
import type { Event } from '../../base/events.ts';
import type { DocumentStore } from '../../store/names.ts';
import { Popularity } from './popularity.ts';
import { Usefulness } from './usefulness.ts';

/** A crash forgets at most what was learnt for so long. */
const saveEveryMs = 60_000;

/** What is learnt of clients from their requests, over restarts: what they pull, and what prewarming was worth. */
export class Learning {
  readonly popularity: Popularity;
  readonly usefulness = new Usefulness();
  readonly #documents: DocumentStore;
  readonly #changed = { popularity: false, usefulness: false };
  #timer: NodeJS.Timeout | undefined;

  private constructor(clock: Clock, documents: DocumentStore) {
    this.popularity = new Popularity(clock);
    this.#documents = documents;
  }

  static async open(clock: Clock, documents: DocumentStore): Promise<Learning> {
    const learning = new Learning(clock, documents);
    learning.popularity.load(await documents.find('learnt', 'popularity'));
    learning.usefulness.load(await documents.find('learnt', 'usefulness'));
    learning.#timer = setInterval(() => void learning.#save(), saveEveryMs);
    learning.#timer.unref();
    return learning;
  }

  readonly observe = (event: Event): void => {
    if (event.kind === 'request' && this.popularity.note(event)) this.#changed.popularity = true;
    if (this.usefulness.note(event)) this.#changed.usefulness = true;
  };

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#save();
  }

  async #save(): Promise<void> {
    for (const what of ['popularity', 'usefulness'] as const) {
      if (!this.#changed[what]) continue;
      this.#changed[what] = false;
      await this.#documents.put('learnt', what, this[what].dump());
    }
  }
}

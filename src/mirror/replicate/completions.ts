import type { Event, Observe } from '../../base/events.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';

interface Awaited {
  readonly repository: Repository;
  readonly tag: string;
  readonly digest: Digest;
  readonly mediaType: string | undefined;
}

/** Tags whose images are still arriving; of more, the oldest are not told of. */
const awaitedMax = 1_000;

/** After the last blob of a repository: several come together. */
const settleMs = 200;

/** Notices when all that a tag needs has arrived after it was set. */
export class Completions {
  readonly #awaited = new Map<string, Awaited>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #judging = new Set<Promise<void>>();
  #isClosed = false;
  readonly #isWhole: (repository: Repository, digest: Digest) => Promise<boolean>;
  readonly #complete: (image: Awaited) => void;
  readonly #observe: Observe;

  constructor(parts: {
    readonly isWhole: (repository: Repository, digest: Digest) => Promise<boolean>;
    readonly complete: (image: Awaited) => void;
    readonly observe: Observe;
  }) {
    this.#isWhole = parts.isWhole;
    this.#complete = parts.complete;
    this.#observe = parts.observe;
  }

  tagSet(image: Awaited): void {
    const key = `${repositoryKey(image.repository)} ${image.tag}`;
    this.#awaited.delete(key);
    this.#awaited.set(key, image);
    const [oldest] = this.#awaited.keys();
    if (this.#awaited.size > awaitedMax && oldest !== undefined) this.#awaited.delete(oldest);
    this.#look(repositoryKey(image.repository));
  }

  readonly observe = (event: Event): void => {
    if (event.kind === 'fill-committed') this.#look(event.repository);
  };

  /** Ends when it no longer looks at anything. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#awaited.clear();
    await Promise.all(this.#judging);
  }

  #look(repository: string): void {
    if (this.#isClosed || this.#timers.has(repository)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(repository);
      const judging = this.#judge(repository).catch((error: unknown) =>
        this.#observe({ kind: 'bug', where: 'completions', error }),
      );
      this.#judging.add(judging);
      void judging.then(() => this.#judging.delete(judging));
    }, settleMs);
    timer.unref();
    this.#timers.set(repository, timer);
  }

  async #judge(repository: string): Promise<void> {
    for (const [key, image] of this.#awaited) {
      if (repositoryKey(image.repository) !== repository) continue;
      const isWhole = await this.#isWhole(image.repository, image.digest).catch(() => false);
      if (!isWhole || this.#awaited.get(key) !== image) continue;
      this.#awaited.delete(key);
      this.#complete(image);
    }
  }
}

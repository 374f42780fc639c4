import type { Clock } from '../../base/clock.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { DocumentStore } from '../../store/names.ts';

/** What a run is about: a tag, all that a rule selects of a repository, or all that it selects. */
export interface Subject {
  readonly repository?: Repository | undefined;
  readonly tag?: string | undefined;
}

/** What could not be brought, and is tried again. Wall clock, milliseconds. */
export interface Undelivered extends Subject {
  readonly attempts: number;
  readonly sinceMs: number;
  readonly retryMs: number;
  readonly message: string;
}

/** What a rule has copied since it exists. */
export interface Copied {
  readonly images: number;
  readonly fetchedBytes: number;
  /** Of copied images: blobs that were here already. */
  readonly savedBytes: number;
}

/** Beyond it everything is compared instead. */
const undeliveredMax = 1_000;

/** The waits between attempts; they double. */
const retryMs = { first: 2_000, max: 60_000 };

/** What one rule has brought and what it still owes; outlives the process. */
export class Deliveries {
  readonly #rule: string;
  readonly #documents: DocumentStore;
  readonly #clock: Clock;
  #undelivered = new Map<string, Undelivered>();
  #copied: Copied = { images: 0, fetchedBytes: 0, savedBytes: 0 };
  #hasChanged = false;

  constructor(parts: {
    readonly rule: string;
    readonly documents: DocumentStore;
    readonly clock: Clock;
  }) {
    this.#rule = parts.rule;
    this.#documents = parts.documents;
    this.#clock = parts.clock;
  }

  async open(): Promise<void> {
    const kept = await this.#documents.find('sync-deliveries', this.#rule);
    if (kept === undefined) return;
    const { undelivered, copied } = kept as { undelivered: Undelivered[]; copied: Copied };
    this.#undelivered = new Map(undelivered.map((one) => [keyOf(one), one]));
    this.#copied = copied;
  }

  async save(): Promise<void> {
    if (!this.#hasChanged) return;
    this.#hasChanged = false;
    const document = { undelivered: this.undelivered, copied: this.#copied };
    await this.#documents.put('sync-deliveries', this.#rule, document);
  }

  get undelivered(): Undelivered[] {
    return [...this.#undelivered.values()];
  }

  get copied(): Copied {
    return this.#copied;
  }

  /** It is here, or no longer wanted. */
  delivered(subject: Subject): void {
    if (this.#undelivered.delete(keyOf(subject))) this.#hasChanged = true;
  }

  count({ fetchedBytes, presentBytes }: { fetchedBytes: number; presentBytes: number }): void {
    this.#copied = {
      images: this.#copied.images + 1,
      fetchedBytes: this.#copied.fetchedBytes + fetchedBytes,
      savedBytes: this.#copied.savedBytes + presentBytes,
    };
    this.#hasChanged = true;
  }

  failed(subject: Subject, error: unknown): void {
    const now = this.#clock.wallMs();
    const { attempts = 0, sinceMs = now } = this.#undelivered.get(keyOf(subject)) ?? {};
    const { repository, tag } = subject;
    this.#undelivered.set(keyOf(subject), {
      repository,
      tag,
      attempts: attempts + 1,
      sinceMs,
      retryMs: now + waitMsAfter(attempts),
      message: error instanceof Error ? error.message : String(error),
    });
    this.#hasChanged = true;
    if (this.#undelivered.size <= undeliveredMax) return;
    this.#undelivered.clear();
    this.failed({}, new Error(`more than ${undeliveredMax} images failed`));
  }

  /**
   * What is to be tried again now; one without a repository stands for everything. It is not due again
   * before its next time, however the attempt ends.
   */
  takeDue(): Subject[] {
    const now = this.#clock.wallMs();
    const due = this.undelivered.filter(({ retryMs: at }) => at <= now);
    for (const one of due) {
      this.#undelivered.set(keyOf(one), { ...one, retryMs: now + waitMsAfter(one.attempts) });
    }
    return due.map(({ repository, tag }) => ({ repository, tag }));
  }

  /** The primary is back: nothing waits for its time. */
  hasten(): void {
    const now = this.#clock.wallMs();
    for (const [key, one] of this.#undelivered) {
      this.#undelivered.set(key, { ...one, retryMs: Math.min(one.retryMs, now) });
    }
  }
}

function waitMsAfter(attempts: number): number {
  return Math.min(retryMs.first * 2 ** attempts, retryMs.max);
}

function keyOf({ repository, tag }: Subject): string {
  return `${repository === undefined ? '' : repositoryKey(repository)} ${tag ?? ''}`;
}

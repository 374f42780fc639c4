import type { Event } from '../../base/events.ts';

/** What came of prewarming since counting began. Bytes; blobs count whole. */
export interface PrewarmTotals {
  readonly prewarmedBytes: number;
  /** Of those, what a client has asked for since. */
  readonly servedBytes: number;
  /** Of those, what was evicted before any client had asked for it. */
  readonly evictedBytes: number;
}

/** Blobs that nobody has asked for yet, some 150 bytes each; of more the oldest counts as unserved for ever. */
const unservedMax = 10_000;

/** Measures what prewarming fetched in vain: by rules, by hand, and for popular tags. */
export class Usefulness {
  #prewarmedBytes = 0;
  #servedBytes = 0;
  #evictedBytes = 0;
  /** On their way for a prewarm; whether a client reads along. */
  readonly #arriving = new Map<string, boolean>();
  /** Prewarmed, here, and not asked for yet; the size of each, the oldest first. */
  readonly #unserved = new Map<string, number>();

  get totals(): PrewarmTotals {
    return {
      prewarmedBytes: this.#prewarmedBytes,
      servedBytes: this.#servedBytes,
      evictedBytes: this.#evictedBytes,
    };
  }

  /** @returns whether it changed anything */
  note(event: Event): boolean {
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- the rest is not about blobs
    switch (event.kind) {
      case 'fill-started':
        if (event.reason === 'prewarm') this.#arriving.set(event.digest, false);
        return false;
      case 'fill-failed':
        this.#arriving.delete(event.digest);
        return false;
      case 'fill-committed':
        return this.#arrived(event.digest, event.sizeBytes);
      case 'request':
        if (event.what !== 'blob' || event.method !== 'GET' || event.status >= 400) return false;
        return event.reference !== undefined && this.#asked(event.reference);
      case 'evicted':
        return this.#evicted(event.digest);
      default:
        return false;
    }
  }

  dump(): unknown {
    return { ...this.totals, unserved: [...this.#unserved] };
  }

  /** Takes up what `dump` gave; what is none of it is passed over. */
  load(dumped: unknown): void {
    const { prewarmedBytes, servedBytes, evictedBytes, unserved } = (dumped ?? {}) as Record<
      string,
      unknown
    >;
    this.#prewarmedBytes = numberOf(prewarmedBytes);
    this.#servedBytes = numberOf(servedBytes);
    this.#evictedBytes = numberOf(evictedBytes);
    for (const entry of Array.isArray(unserved) ? (unserved as unknown[]) : []) {
      const [digest, size] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof digest === 'string') this.#unserved.set(digest, numberOf(size));
    }
  }

  #arrived(digest: string, sizeBytes: number): boolean {
    const isRead = this.#arriving.get(digest);
    if (isRead === undefined) return false;
    this.#arriving.delete(digest);
    this.#prewarmedBytes += sizeBytes;
    if (isRead) this.#servedBytes += sizeBytes;
    else this.#unserved.set(digest, sizeBytes);
    const [oldest] = this.#unserved.keys();
    if (this.#unserved.size > unservedMax && oldest !== undefined) this.#unserved.delete(oldest);
    return true;
  }

  #asked(digest: string): boolean {
    if (this.#arriving.has(digest)) this.#arriving.set(digest, true);
    const sizeBytes = this.#unserved.get(digest);
    if (sizeBytes === undefined) return false;
    this.#unserved.delete(digest);
    this.#servedBytes += sizeBytes;
    return true;
  }

  #evicted(digest: string): boolean {
    const sizeBytes = this.#unserved.get(digest);
    if (sizeBytes === undefined) return false;
    this.#unserved.delete(digest);
    this.#evictedBytes += sizeBytes;
    return true;
  }
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

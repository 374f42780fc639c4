import { effect, signal } from '@preact/signals';
import type { Stats } from '../../api/stats.ts';
import type { AdminApi } from './admin-api.ts';

/** What went through between two looks. */
export interface Sample {
  readonly atMs: number;
  readonly servedBytesPerSecond: number;
  readonly fetchedBytesPerSecond: number;
}

/** Five minutes, at one a second. */
const samplesMax = 300;

const reconnectMs = 2_000;

/** The server tells something every second; a connection that is silent for so long is dead. */
const silenceMs = 10_000;

/** The server's numbers as it pushes them, once a second, for as long as the page is open. */
export class Live {
  readonly stats = signal<Stats | undefined>(undefined);
  readonly samples = signal<readonly Sample[]>([]);
  /** When the connection was lost; undefined while it stands, and before the first attempt ends. */
  readonly lostAtMs = signal<number | undefined>(undefined);
  readonly #api: AdminApi;
  #lastAtMs = 0;

  constructor(api: AdminApi) {
    this.#api = api;
  }

  /** Begins, and goes on after each break; waits while the server wants a token. */
  start(): void {
    effect(() => {
      if (this.#api.isLocked.value) return;
      const ended = new AbortController();
      void this.#keep(ended.signal);
      return () => ended.abort();
    });
  }

  async #keep(ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      try {
        await this.#follow(ended);
      } catch {
        // Said by `lostAtMs`.
      }
      if (ended.aborted) return;
      this.lostAtMs.value ??= Date.now();
      await new Promise((resolve) => setTimeout(resolve, reconnectMs));
    }
  }

  async #follow(ended: AbortSignal): Promise<void> {
    const silent = new AbortController();
    const watch = (): number => window.setTimeout(() => silent.abort(), silenceMs);
    let timer = watch();
    try {
      await this.#api.follow(
        'stats/events',
        ({ data }) => {
          clearTimeout(timer);
          timer = watch();
          this.#take(data);
        },
        AbortSignal.any([ended, silent.signal]),
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #take(data: string): void {
    const stats = JSON.parse(data) as Stats;
    const before = this.stats.peek();
    const nowMs = performance.now();
    if (before !== undefined && before.startedAt === stats.startedAt) {
      const seconds = (nowMs - this.#lastAtMs) / 1000;
      const perSecond = (now: number, then: number): number =>
        Math.max(0, (now - then) / Math.max(seconds, 0.1));
      const sample = {
        atMs: Date.now(),
        servedBytesPerSecond: perSecond(stats.bytes.served, before.bytes.served),
        fetchedBytesPerSecond: perSecond(stats.bytes.fetched, before.bytes.fetched),
      };
      this.samples.value = [...this.samples.peek(), sample].slice(-samplesMax);
    }
    this.#lastAtMs = nowMs;
    this.lostAtMs.value = undefined;
    this.stats.value = stats;
  }
}

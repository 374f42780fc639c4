import type { Clock } from '../base/clock.ts';
import type { Event, RequestEvent } from '../base/events.ts';

/** How requests were answered, by the names of X-Cache. */
export interface Outcomes {
  hits: number;
  misses: number;
  joined: number;
  revalidated: number;
  stale: number;
  errors: number;
}

/** Bytes. */
interface Transferred {
  servedBytes: number;
  fetchedBytes: number;
}

export type ContentKind = 'manifest' | 'blob' | 'tags' | 'referrers';

interface ImageUse {
  pulls: number;
  servedBytes: number;
  lastPullMs: number;
}

interface UpstreamUse {
  requests: number;
  errors: number;
  totalMs: number;
  lastError: { readonly atMs: number; readonly message: string } | undefined;
}

/** Repositories that are counted one by one; beyond it the one that was pulled the longest ago is dropped. */
const imagesMax = 2_000;

/**
 * Sums over everything that happened since the start: plain numbers, so that counting costs a request
 * nothing; they are put into words when somebody asks. Bytes and milliseconds.
 */
export class Statistics {
  readonly startedMs: number;
  readonly total: Outcomes & { requests: number } = { ...noOutcomes(), requests: 0 };
  /** Manifests that were served. */
  manifests = 0;
  /** Of these, GETs that were answered without a GET at an upstream. */
  pullsSaved = 0;
  /** GETs of manifests that upstreams answered. */
  upstreamPulls = 0;
  evictedBlobs = 0;
  evictedBytes = 0;
  /** Stored files that were found wrong, by a read or by a scrub. */
  corruptBlobs = 0;
  readonly byUpstream = new Map<string, Outcomes>();
  readonly images = new Map<string, ImageUse>();
  readonly upstreams = new Map<string, UpstreamUse>();
  readonly #clock: Clock;
  readonly #ended: Transferred = { servedBytes: 0, fetchedBytes: 0 };
  readonly #told: Transferred = { servedBytes: 0, fetchedBytes: 0 };
  #underWay: (() => Transferred) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.startedMs = clock.wallMs();
  }

  /** To clients, with what is on its way; never falls. */
  get servedBytes(): number {
    return this.#sum('servedBytes');
  }

  /** From upstreams, with what is on its way; never falls. */
  get fetchedBytes(): number {
    return this.#sum('fetchedBytes');
  }

  /** @param underWay bytes of transfers whose end no event has told of yet */
  watch(underWay: () => Transferred): void {
    this.#underWay = underWay;
  }

  readonly observe = (event: Event): void => {
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- the rest is no number here
    switch (event.kind) {
      case 'request':
        return this.#countRequest(event);
      case 'fill-committed':
      case 'fill-failed':
        this.#ended.fetchedBytes += event.fetchedBytes;
        return;
      case 'evicted':
        this.evictedBlobs += 1;
        this.evictedBytes += event.sizeBytes;
        return;
      case 'content-corrupt':
        this.corruptBlobs += 1;
        return;
      case 'upstream-answered': {
        const use = this.#upstream(event.registry);
        use.requests += 1;
        use.totalMs += event.durationMs;
        if (event.what === 'manifest' && event.method === 'GET' && event.status === 200) {
          this.upstreamPulls += 1;
        }
        if (event.status === 429 || event.status >= 500) {
          this.#noteError(use, `${event.method} ${event.what} was answered ${event.status}`);
        }
        return;
      }
      case 'upstream-unreachable':
        return this.#noteError(this.#upstream(event.registry), event.message);
    }
  };

  /** Keys of `byUpstream`: the upstream's name and what was asked for. */
  static splitKey(key: string): { upstream: string; kind: ContentKind } {
    const space = key.lastIndexOf(' ');
    return { upstream: key.slice(0, space), kind: key.slice(space + 1) as ContentKind };
  }

  /** A transfer that ends may be counted here and there for a moment: a counter must not fall then. */
  #sum(key: keyof Transferred): number {
    const now = this.#ended[key] + (this.#underWay?.()[key] ?? 0);
    this.#told[key] = Math.max(this.#told[key], now);
    return this.#told[key];
  }

  #countRequest(event: RequestEvent): void {
    this.total.requests += 1;
    this.#ended.servedBytes += event.sentBytes;
    const name = outcomeName(event);
    if (name !== undefined) this.total[name] += 1;
    const { what, repository } = event;
    if (repository === undefined || !isContent(what)) return;
    const upstream = repository.slice(0, repository.indexOf('/'));
    const key = `${upstream} ${what}`;
    let outcomes = this.byUpstream.get(key);
    if (outcomes === undefined) {
      outcomes = noOutcomes();
      this.byUpstream.set(key, outcomes);
    }
    if (name !== undefined) outcomes[name] += 1;
    if (event.status < 400 && (what === 'manifest' || what === 'blob')) {
      this.#countUse(repository, event);
    }
  }

  #countUse(repository: string, { what, method, outcome, sentBytes }: RequestEvent): void {
    const isPull = what === 'manifest' && method === 'GET';
    if (isPull) this.manifests += 1;
    if (isPull && outcome !== 'MISS') this.pullsSaved += 1;
    const use = this.images.get(repository) ?? { pulls: 0, servedBytes: 0, lastPullMs: 0 };
    use.servedBytes += sentBytes;
    if (isPull) {
      use.pulls += 1;
      use.lastPullMs = this.#clock.wallMs();
      // The order of the map is that of the last pulls.
      this.images.delete(repository);
    }
    this.images.set(repository, use);
    const [oldest] = this.images.keys();
    if (this.images.size > imagesMax && oldest !== undefined) this.images.delete(oldest);
  }

  #upstream(registry: string): UpstreamUse {
    let use = this.upstreams.get(registry);
    if (use === undefined) {
      use = { requests: 0, errors: 0, totalMs: 0, lastError: undefined };
      this.upstreams.set(registry, use);
    }
    return use;
  }

  #noteError(use: UpstreamUse, message: string): void {
    use.errors += 1;
    use.lastError = { atMs: this.#clock.wallMs(), message };
  }
}

function noOutcomes(): Outcomes {
  return { hits: 0, misses: 0, joined: 0, revalidated: 0, stale: 0, errors: 0 };
}

function isContent(what: RequestEvent['what']): what is ContentKind {
  return what === 'manifest' || what === 'blob' || what === 'tags' || what === 'referrers';
}

/** Undefined for what is neither: a ping, a client that left. */
export function outcomeName({ outcome, status }: RequestEvent): keyof Outcomes | undefined {
  if (status >= 400) return 'errors';
  switch (outcome) {
    case 'HIT':
      return 'hits';
    case 'MISS':
      return 'misses';
    case 'JOINED':
      return 'joined';
    case 'REVALIDATED':
      return 'revalidated';
    case 'STALE':
      return 'stale';
    case undefined:
      return undefined;
  }
}

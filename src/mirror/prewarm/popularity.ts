import type { Clock } from '../../base/clock.ts';
import { isTag, type Repository } from '../../oci/reference.ts';
import type { RequestEvent } from '../../base/events.ts';

export interface PopularTag {
  readonly repository: Repository;
  readonly tag: string;
}

interface Score {
  /** Pulls, each of which counts half after `halfLifeMs`; as of `atMs`, by the wall clock. */
  pulls: number;
  atMs: number;
}

/** What nobody pulls any more is half as popular after three days, and a hundredth after three weeks. */
const halfLifeMs = 3 * 86_400_000;

/** Tags that are counted, some 200 bytes each; beyond it the least popular tenth is forgotten. */
const tagsMax = 5_000;

/** Which tags clients pull, the last days more than the weeks before. */
export class Popularity {
  readonly #clock: Clock;
  /** By `registry/name:tag`. */
  readonly #scores = new Map<string, Score>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Docker and containerd ask for a tag by HEAD and go on by digest, podman by GET: both are pulls.
   * @returns whether it was one
   */
  note({ what, method, status, repository, reference }: RequestEvent): boolean {
    if (what !== 'manifest' || status >= 400 || (method !== 'GET' && method !== 'HEAD')) {
      return false;
    }
    if (repository === undefined || reference === undefined || !isTag(reference)) return false;
    const key = `${repository}:${reference}`;
    const now = this.#clock.wallMs();
    const score = this.#scores.get(key);
    this.#scores.set(key, { pulls: this.#now(score, now) + 1, atMs: now });
    if (this.#scores.size > tagsMax) this.#forgetLeast(now);
    return true;
  }

  /** The most popular tags, the first first. */
  top(count: number, isWanted: (repository: Repository) => boolean): PopularTag[] {
    const now = this.#clock.wallMs();
    return [...this.#scores]
      .sort(([, a], [, b]) => this.#now(b, now) - this.#now(a, now))
      .map(([key]) => popularTagOf(key))
      .filter(({ repository }) => isWanted(repository))
      .slice(0, count);
  }

  dump(): unknown {
    return [...this.#scores].map(([key, { pulls, atMs }]) => [key, pulls, atMs]);
  }

  /** Takes up what `dump` gave; what is none of it is passed over. */
  load(dumped: unknown): void {
    for (const entry of Array.isArray(dumped) ? (dumped as unknown[]) : []) {
      const [key, pulls, atMs] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof key !== 'string' || typeof pulls !== 'number' || typeof atMs !== 'number')
        continue;
      this.#scores.set(key, { pulls, atMs });
    }
  }

  #now(score: Score | undefined, nowMs: number): number {
    if (score === undefined) return 0;
    return score.pulls * 2 ** (-Math.max(0, nowMs - score.atMs) / halfLifeMs);
  }

  #forgetLeast(nowMs: number): void {
    const least = [...this.#scores]
      .sort(([, a], [, b]) => this.#now(a, nowMs) - this.#now(b, nowMs))
      .slice(0, Math.ceil(tagsMax / 10));
    for (const [key] of least) this.#scores.delete(key);
  }
}

function popularTagOf(key: string): PopularTag {
  const slash = key.indexOf('/');
  const colon = key.lastIndexOf(':');
  const repository = { registry: key.slice(0, slash), name: key.slice(slash + 1, colon) };
  return { repository, tag: key.slice(colon + 1) };
}

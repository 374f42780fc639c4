import type { Clock } from '../base/clock.ts';
import type { Statistics } from './statistics.ts';

/** What happened in one step of time. Bytes; `atMs` is its beginning by the wall clock. */
export interface HistoryPoint {
  readonly atMs: number;
  readonly requests: number;
  readonly hits: number;
  readonly misses: number;
  readonly stale: number;
  readonly errors: number;
  readonly servedBytes: number;
  readonly fetchedBytes: number;
}

type Counters = Omit<HistoryPoint, 'atMs'>;

/** Where the points outlive the process. */
export interface HistoryShelf {
  load(): Promise<unknown>;
  save(points: unknown): Promise<void>;
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** By minute for a day, by hour for a month: some 2,200 points, 200 kB. */
const kept = { minutes: 1_440, hours: 744 };

/** A crash loses at most so many minutes of the picture. */
const saveEveryMinutes = 5;

/** The statistics over time. */
export class History {
  readonly #statistics: Statistics;
  readonly #clock: Clock;
  readonly #shelf: HistoryShelf;
  #minutes: HistoryPoint[] = [];
  #hours: HistoryPoint[] = [];
  #before: Counters;
  #beganMs: number;
  #timer: NodeJS.Timeout | undefined;
  #unsaved = 0;

  constructor(statistics: Statistics, clock: Clock, shelf: HistoryShelf) {
    this.#statistics = statistics;
    this.#clock = clock;
    this.#shelf = shelf;
    this.#before = countersOf(statistics);
    this.#beganMs = clock.wallMs();
  }

  async open(): Promise<void> {
    const { minutes, hours } = ((await this.#shelf.load()) ?? {}) as Record<string, unknown>;
    this.#minutes = pointsOf(minutes);
    this.#hours = pointsOf(hours);
    this.#timer = setInterval(() => this.tick(), minuteMs);
    this.#timer.unref();
  }

  /** Ends a minute. */
  tick(): void {
    const now = countersOf(this.#statistics);
    const point = { atMs: this.#beganMs, ...difference(now, this.#before) };
    this.#before = now;
    this.#beganMs = this.#clock.wallMs();
    this.#minutes = [...this.#minutes, point].slice(-kept.minutes);
    const hourAtMs = Math.floor(point.atMs / hourMs) * hourMs;
    const last = this.#hours.at(-1);
    if (last?.atMs === hourAtMs) this.#hours[this.#hours.length - 1] = sum(last, point);
    else this.#hours = [...this.#hours, { ...point, atMs: hourAtMs }].slice(-kept.hours);
    this.#unsaved += 1;
    if (this.#unsaved >= saveEveryMinutes) void this.#save();
  }

  /**
   * The points of a window that ends now, the oldest first; the minute that runs is the last. Longer
   * than a day, they are by hour.
   */
  points(windowMs: number): { readonly stepSeconds: number; readonly points: HistoryPoint[] } {
    const isLong = windowMs > kept.minutes * minuteMs;
    const running = {
      atMs: this.#beganMs,
      ...difference(countersOf(this.#statistics), this.#before),
    };
    const points = [...(isLong ? this.#hours : this.#minutes), running];
    const sinceMs = this.#clock.wallMs() - windowMs;
    return {
      stepSeconds: (isLong ? hourMs : minuteMs) / 1000,
      points: points.filter(({ atMs }) => atMs >= sinceMs),
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.tick();
    await this.#save();
  }

  async #save(): Promise<void> {
    this.#unsaved = 0;
    await this.#shelf.save({ minutes: this.#minutes, hours: this.#hours });
  }
}

function countersOf({ total, servedBytes, fetchedBytes }: Statistics): Counters {
  const { requests, hits, joined, revalidated, misses, stale, errors } = total;
  return {
    requests,
    hits: hits + joined + revalidated,
    misses,
    stale,
    errors,
    servedBytes,
    fetchedBytes,
  };
}

function difference(now: Counters, before: Counters): Counters {
  return {
    requests: now.requests - before.requests,
    hits: now.hits - before.hits,
    misses: now.misses - before.misses,
    stale: now.stale - before.stale,
    errors: now.errors - before.errors,
    servedBytes: now.servedBytes - before.servedBytes,
    fetchedBytes: now.fetchedBytes - before.fetchedBytes,
  };
}

function sum(a: HistoryPoint, b: HistoryPoint): HistoryPoint {
  return {
    atMs: a.atMs,
    requests: a.requests + b.requests,
    hits: a.hits + b.hits,
    misses: a.misses + b.misses,
    stale: a.stale + b.stale,
    errors: a.errors + b.errors,
    servedBytes: a.servedBytes + b.servedBytes,
    fetchedBytes: a.fetchedBytes + b.fetchedBytes,
  };
}

/** What was kept by an older version may lack something; a picture is not worth an error. */
function pointsOf(value: unknown): HistoryPoint[] {
  if (!Array.isArray(value)) return [];
  return (value as Partial<HistoryPoint>[]).filter((point): point is HistoryPoint =>
    [
      point.atMs,
      point.requests,
      point.hits,
      point.misses,
      point.stale,
      point.errors,
      point.servedBytes,
      point.fetchedBytes,
    ].every((number) => typeof number === 'number'),
  );
}

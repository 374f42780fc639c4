import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import type { Event, Observe } from '../base/events.ts';
import type { Work } from '../base/work.ts';
import { nextTime, type Timetable } from './cron.ts';
import { RunShelf, type Documents } from './run-shelf.ts';
import { isEnded, Run, type EndState, type RunRecord, type Trigger } from './run.ts';

/** Something that can be run by its timetable or by hand. */
export interface Job {
  readonly name: string;
  /** One sentence for a person. */
  readonly summary: string;
  readonly timetable?: Timetable | undefined;
  run(work: Work, parameters: unknown): Promise<void>;
}

export interface JobState {
  readonly name: string;
  readonly summary: string;
  readonly timetable: Timetable | undefined;
  /** Wall clock, milliseconds. */
  readonly nextMs: number | undefined;
  readonly lastRun: RunRecord | undefined;
}

/** Runs at a time beside those that wait: more would only share the same upstream and disk. */
const runningMax = 2;

/** Runs that wait for a place; more than these are refused. */
const queueMax = 100;

/** However far the next start is: a clock that is set, or a machine that slept, is noticed by then. */
const lookMs = 30_000;

/** What a running run has done is written this often. */
const saveMs = 2_000;

interface Scheduled {
  readonly job: Job;
  nextMs: number | undefined;
}

/**
 * Starts jobs by their timetables and by hand. A job never runs twice at a time; runs beyond
 * `runningMax` wait in line. What was missed while the process was away is run once; what a dead
 * process was in the middle of is begun again, and finds there what was done.
 */
export class Scheduler {
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #shelf: RunShelf;
  readonly #random: () => number;
  readonly #jobs = new Map<string, Scheduled>();
  /** Queued and running, the oldest first. */
  readonly #active = new Map<Run, Promise<void>>();
  readonly #queue: Run[] = [];
  readonly #ended = new Map<string, RunRecord>();
  readonly #followers = new Map<string, Set<(record: RunRecord) => void>>();
  readonly #dirty = new Set<Run>();
  /** The state and the reason that were stated last. */
  readonly #steps = new WeakMap<Run, string>();
  readonly #saving = new Set<Promise<void>>();
  #saveTimer: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(parts: {
    readonly clock: Clock;
    readonly observe: Observe;
    readonly documents: Documents;
    readonly random?: () => number;
  }) {
    this.#clock = parts.clock;
    this.#observe = parts.observe;
    this.#shelf = new RunShelf(parts.documents);
    this.#random = parts.random ?? Math.random;
  }

  /**
   * Takes up the jobs: history, what was interrupted, what was missed, then their timetables.
   * @throws RangeError for a timetable that cannot be; nothing has begun then
   */
  async open(jobs: readonly Job[]): Promise<void> {
    const now = this.#clock.wallMs();
    for (const job of jobs) this.#jobs.set(job.name, { job, nextMs: this.#next(job, now) });
    const interrupted: RunRecord[] = [];
    for (const record of await this.#shelf.load()) {
      if (this.#shelf.isTooOld(record, now)) await this.#shelf.remove(record.id);
      else if (isEnded(record.state)) this.#ended.set(record.id, record);
      else interrupted.push(record);
    }
    for (const record of interrupted) await this.#resume(record, now);
    for (const scheduled of this.#jobs.values()) await this.#schedule(scheduled, now);
    this.#saveTimer = setInterval(() => this.#saveDirty(), saveMs);
    this.#saveTimer.unref();
    this.#sleep();
  }

  /**
   * Other jobs, once what is answered is called, which cannot fail. What runs goes on as it began; what
   * waits for a job that is no more is cancelled; a timetable that is the same keeps its next start.
   * @throws RangeError for a timetable that cannot be; nothing has changed then
   */
  prepareJobs(jobs: readonly Job[]): () => void {
    const now = this.#clock.wallMs();
    const next = jobs.map((job) => ({ job, nextMs: this.#next(job, now) }));
    return () => {
      const before = new Map(this.#jobs);
      this.#jobs.clear();
      for (const { job, nextMs } of next) {
        const known = before.get(job.name);
        // What is missed from now on is made up for by the next process.
        if (known === undefined && job.timetable !== undefined) {
          this.#track(this.#shelf.noteStart(job.name, now));
        }
        const isSame = isDeepStrictEqual(known?.job.timetable, job.timetable);
        this.#jobs.set(job.name, { job, nextMs: isSame ? known?.nextMs : nextMs });
      }
      for (const { id, job } of this.#queue.slice()) {
        if (!this.#jobs.has(job)) this.cancel(id);
      }
      this.#sleep();
    };
  }

  jobs(): JobState[] {
    return Array.from(this.#jobs.values(), ({ job, nextMs }) => ({
      name: job.name,
      summary: job.summary,
      timetable: job.timetable,
      nextMs,
      lastRun: this.runs().find((run) => run.job === job.name),
    }));
  }

  has(job: string): boolean {
    return this.#jobs.has(job);
  }

  /** Those under way, then those of the past, the newest first. */
  runs(): RunRecord[] {
    const active = Array.from(this.#active.keys(), ({ record }) => record);
    const ended = [...this.#ended.values()];
    return [...active, ...ended].sort((a, b) => b.queuedMs - a.queuedMs);
  }

  run(id: string): RunRecord | undefined {
    return this.#findActive(id)?.record ?? this.#ended.get(id);
  }

  /**
   * Starts a job, or puts it in line.
   * @returns undefined when too many wait already
   * @throws Error for a job that does not exist
   */
  start(
    name: string,
    options: { trigger: Trigger; isDryRun?: boolean; parameters?: unknown },
  ): RunRecord | undefined {
    const scheduled = this.#jobs.get(name);
    if (scheduled === undefined) throw new Error(`there is no job ${name}`);
    if (this.#queue.length >= queueMax || this.#isClosed) return undefined;
    const run = new Run({
      job: name,
      trigger: options.trigger,
      isDryRun: options.isDryRun ?? false,
      parameters: options.parameters,
      clock: this.#clock,
      changed: (changed) => this.#changed(changed),
    });
    this.#queue.push(run);
    this.#active.set(run, Promise.resolve());
    this.#changed(run);
    this.#startWaiting();
    return run.record;
  }

  /** Resolves at the end of a run, whatever its result. @throws the signal's reason */
  async ended(id: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => reject(signal.reason);
    const unfollow = this.follow(id, ({ state }) => {
      if (isEnded(state)) resolve();
    });
    signal.addEventListener('abort', leave, { once: true });
    try {
      if (this.#findActive(id) !== undefined) await promise;
    } finally {
      signal.removeEventListener('abort', leave);
      unfollow();
    }
  }

  /** Ends a run at its next object; whether there was one to end. */
  cancel(id: string): boolean {
    const run = this.#findActive(id);
    if (run === undefined) return false;
    const at = this.#queue.indexOf(run);
    if (at >= 0) this.#queue.splice(at, 1);
    run.cancel();
    if (isEnded(run.state)) this.#finish(run);
    return true;
  }

  /** Tells of each change of a run, the last one included. @returns what ends it */
  follow(id: string, follower: (record: RunRecord) => void): () => void {
    const followers = this.#followers.get(id) ?? new Set();
    followers.add(follower);
    this.#followers.set(id, followers);
    return () => {
      followers.delete(follower);
      if (followers.size === 0) this.#followers.delete(id);
    };
  }

  /** Stops what runs at its next object; it goes on when the process starts again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#saveTimer);
    this.#queue.length = 0;
    for (const run of this.#active.keys()) run.interrupt();
    await Promise.all(this.#active.values());
    this.#saveDirty();
    await Promise.all(this.#saving);
  }

  /** Starts what is due by the wall clock. */
  tick(): void {
    const now = this.#clock.wallMs();
    for (const scheduled of this.#jobs.values()) {
      if (scheduled.nextMs === undefined || scheduled.nextMs > now) continue;
      this.#startDue(scheduled, now);
      scheduled.nextMs = this.#next(scheduled.job, now);
    }
    this.#sleep();
  }

  async #resume(record: RunRecord, now: number): Promise<void> {
    const text = this.#jobs.has(record.job)
      ? 'the process ended in the middle of it; another run goes on'
      : 'the process ended in the middle of it, and its job is no longer there';
    const log = [...record.log, { atMs: now, text }];
    const ended: RunRecord = {
      ...record,
      state: 'cancelled',
      reason: undefined,
      endedMs: now,
      log,
    };
    this.#ended.set(record.id, ended);
    await this.#shelf.save(ended);
    if (!this.#jobs.has(record.job)) return;
    this.start(record.job, {
      trigger: 'start',
      isDryRun: record.isDryRun,
      parameters: record.parameters,
    });
  }

  /** The next start; one that passed while the process was away is made up for at once. */
  async #schedule(scheduled: Scheduled, now: number): Promise<void> {
    const { job } = scheduled;
    if (job.timetable === undefined) return;
    const last = await this.#shelf.lastStartMs(job.name);
    const missed = last === undefined ? undefined : nextTime(job.timetable, last);
    if (last === undefined) await this.#shelf.noteStart(job.name, now);
    if (missed !== undefined && missed <= now) this.#startDue(scheduled, now);
    scheduled.nextMs = this.#next(job, now);
  }

  #startDue({ job }: Scheduled, now: number): void {
    this.#track(this.#shelf.noteStart(job.name, now));
    const isActive = [...this.#active.keys()].some((run) => run.job === job.name);
    // It is late: the run under way does what the next one would.
    if (!isActive) this.start(job.name, { trigger: 'schedule' });
  }

  #next({ name, timetable }: Job, afterMs: number): number | undefined {
    if (timetable === undefined) return undefined;
    const next = nextTimeOf(name, timetable, afterMs);
    return next === undefined ? undefined : next + this.#random() * (timetable.jitterMs ?? 0);
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    const times = Array.from(this.#jobs.values(), ({ nextMs }) => nextMs ?? Infinity);
    const inMs = Math.min(...times, Infinity) - this.#clock.wallMs();
    if (inMs === Infinity) return;
    this.#timer = setTimeout(() => this.tick(), Math.min(Math.max(inMs, 0), lookMs));
    this.#timer.unref();
  }

  #startWaiting(): void {
    const isBusy = (job: string): boolean =>
      [...this.#active.keys()].some(
        (run) => run.job === job && run.state !== 'queued' && !isEnded(run.state),
      );
    // One that waits, for a window or a quota, holds up no other.
    const running = (): number =>
      [...this.#active.keys()].filter(({ state }) => state !== 'waiting' && !isEnded(state))
        .length - this.#queue.length;
    while (running() < runningMax) {
      const at = this.#queue.findIndex(({ job }) => !isBusy(job));
      if (at === -1) return;
      const [run] = this.#queue.splice(at, 1);
      const { job } = this.#jobs.get(run!.job)!;
      const executing = run!
        .execute((work) => job.run(work, run!.parameters))
        .then(() => this.#finish(run!));
      this.#active.set(run!, executing);
    }
  }

  #finish(run: Run): void {
    this.#active.delete(run);
    const { record } = run;
    if (isEnded(record.state)) this.#ended.set(run.id, record);
    this.#dirty.delete(run);
    this.#save(record);
    if (!this.#isClosed) this.#startWaiting();
  }

  #changed(run: Run): void {
    const { record } = run;
    this.#dirty.add(run);
    const { id, job, trigger, state, reason } = record;
    const errors = record.errors.length;
    const step = `${state} ${reason}`;
    if (this.#steps.get(run) !== step) {
      this.#steps.set(run, step);
      this.#observe({ kind: 'run-changed', id, job, trigger, state, reason, errors });
      if (isEnded(state)) this.#observe(endOf(record, state));
      if (state === 'waiting' && !this.#isClosed) this.#startWaiting();
    }
    for (const follower of this.#followers.get(id) ?? []) follower(record);
  }

  #saveDirty(): void {
    for (const run of this.#dirty) this.#save(run.record);
    this.#dirty.clear();
  }

  /** What is no longer kept is no longer listed. */
  #save(record: RunRecord): void {
    const saving = this.#shelf.save(record).then((dropped) => {
      for (const id of dropped) this.#ended.delete(id);
    });
    this.#track(saving);
  }

  #track(saving: Promise<void>): void {
    const done = saving.catch((error: unknown) => {
      this.#observe({ kind: 'bug', where: 'save a run', error });
    });
    this.#saving.add(done);
    void done.then(() => this.#saving.delete(done));
  }

  #findActive(id: string): Run | undefined {
    return [...this.#active.keys()].find((run) => run.id === id);
  }
}

function nextTimeOf(job: string, timetable: Timetable, afterMs: number): number | undefined {
  try {
    return nextTime(timetable, afterMs);
  } catch (cause) {
    throw new RangeError(`the job ${job} cannot be scheduled: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function endOf(
  { id, job, isDryRun, progress, errors, ...times }: RunRecord,
  state: EndState,
): Event {
  const { startedMs, endedMs } = times;
  const isTimed = startedMs !== undefined && endedMs !== undefined;
  return {
    kind: 'run-ended',
    id,
    job,
    state,
    isDryRun,
    images: progress.imagesDone,
    blobs: progress.blobsDone,
    sizeBytes: progress.bytesDone,
    errors: errors.length,
    durationMs: isTimed ? Math.max(0, endedMs - startedMs) : 0,
  };
}

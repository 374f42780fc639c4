import { randomUUID } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Progress, Work } from '../base/work.ts';

export type RunState =
  | 'queued'
  | 'running'
  | 'waiting'
  | 'succeeded'
  | 'partial'
  | 'failed'
  | 'cancelled';

/** Why a run began: its timetable, a person, the feed of another site, or a start after a crash. */
export type Trigger = 'schedule' | 'manual' | 'feed' | 'start';

export interface RunError {
  /** An image or a blob; the name of the job when the whole failed. */
  readonly object: string;
  readonly message: string;
}

export interface LogLine {
  readonly atMs: number;
  readonly text: string;
}

/** What is kept of a run. Times by the wall clock in milliseconds. */
export interface RunRecord {
  readonly id: string;
  readonly job: string;
  readonly trigger: Trigger;
  readonly isDryRun: boolean;
  /** What it was started with, for a job that is told what to do. */
  readonly parameters: unknown;
  readonly state: RunState;
  /** Why it waits. */
  readonly reason: string | undefined;
  readonly progress: Progress;
  readonly queuedMs: number;
  readonly startedMs: number | undefined;
  readonly endedMs: number | undefined;
  readonly errors: readonly RunError[];
  readonly log: readonly LogLine[];
}

/** What a person still reads; what came before is dropped. */
const logMax = 500;

/** More failures than these are counted in the last one. */
const errorsMax = 100;

export const nothingDone: Progress = {
  imagesDone: 0,
  imagesTotal: 0,
  blobsDone: 0,
  blobsTotal: 0,
  bytesDone: 0,
  bytesTotal: 0,
  bytesFetched: 0,
};

export type EndState = Extract<RunState, 'succeeded' | 'partial' | 'failed' | 'cancelled'>;

export function isEnded(state: RunState): state is EndState {
  return (
    state === 'succeeded' || state === 'partial' || state === 'failed' || state === 'cancelled'
  );
}

/** One execution of a job: what its task reports to, and what others see of it. */
export class Run implements Work {
  readonly id: string;
  readonly job: string;
  readonly trigger: Trigger;
  readonly isDryRun: boolean;
  readonly parameters: unknown;
  readonly #clock: Clock;
  readonly #changed: (run: Run) => void;
  readonly #abort = new AbortController();
  readonly #log: LogLine[] = [];
  readonly #errors: RunError[] = [];
  readonly #queuedMs: number;
  #state: RunState = 'queued';
  #reasons: string[] = [];
  #progress: Progress = nothingDone;
  #startedMs: number | undefined;
  #endedMs: number | undefined;
  #isCancelled = false;
  #failures = 0;

  constructor(parts: {
    readonly job: string;
    readonly trigger: Trigger;
    readonly isDryRun: boolean;
    readonly parameters: unknown;
    readonly clock: Clock;
    /** Told of everything that changes. */
    readonly changed: (run: Run) => void;
  }) {
    this.id = randomUUID();
    this.job = parts.job;
    this.trigger = parts.trigger;
    this.isDryRun = parts.isDryRun;
    this.parameters = parts.parameters;
    this.#clock = parts.clock;
    this.#changed = parts.changed;
    this.#queuedMs = parts.clock.wallMs();
  }

  get state(): RunState {
    return this.#state;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get record(): RunRecord {
    return {
      id: this.id,
      job: this.job,
      trigger: this.trigger,
      isDryRun: this.isDryRun,
      parameters: this.parameters,
      state: this.#state,
      reason: this.#reasons[0],
      progress: this.#progress,
      queuedMs: this.#queuedMs,
      startedMs: this.#startedMs,
      endedMs: this.#endedMs,
      errors: [...this.#errors],
      log: [...this.#log],
    };
  }

  log(text: string): void {
    this.#log.push({ atMs: this.#clock.wallMs(), text });
    if (this.#log.length > logMax) this.#log.shift();
    this.#changed(this);
  }

  advance(by: Partial<Progress>): void {
    const sum = { ...this.#progress };
    for (const [key, value] of Object.entries(by)) sum[key as keyof Progress] += value;
    this.#progress = sum;
    this.#changed(this);
  }

  fail(object: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#failures += 1;
    if (this.#errors.length < errorsMax) this.#errors.push({ object, message });
    this.log(`${object}: ${message}`);
  }

  async wait<T>(reason: string, until: Promise<T>): Promise<T> {
    this.#reasons.push(reason);
    this.#state = 'waiting';
    this.log(`waits: ${reason}`);
    try {
      return await until;
    } finally {
      this.#reasons.splice(this.#reasons.indexOf(reason), 1);
      if (this.#reasons.length === 0 && this.#state === 'waiting') this.#state = 'running';
      this.#changed(this);
    }
  }

  /** Runs the task to its end, whatever that is; never rejects. */
  async execute(task: (work: Work) => Promise<void>): Promise<void> {
    if (isEnded(this.#state)) return;
    this.#startedMs = this.#clock.wallMs();
    this.#state = 'running';
    this.#changed(this);
    try {
      await task(this);
      this.#end(this.#verdict());
    } catch (error) {
      if (this.#isCancelled) {
        this.#end('cancelled');
        return;
      }
      // Stopped by the end of the process: the next one goes on with it.
      if (this.#abort.signal.aborted) return;
      this.fail(this.job, error);
      this.#end('failed');
    }
  }

  /** By a person: it ends as cancelled at its next object. */
  cancel(): void {
    this.#isCancelled = true;
    this.#abort.abort(new Error('the run was cancelled'));
    if (this.#state === 'queued') this.#end('cancelled');
  }

  /** By the end of the process: it keeps its state, and is resumed by the next one. */
  interrupt(): void {
    this.#abort.abort(new Error('the mirror is shutting down'));
  }

  #verdict(): RunState {
    if (this.#isCancelled) return 'cancelled';
    if (this.#failures === 0) return 'succeeded';
    return this.#progress.imagesDone > 0 || this.#progress.blobsDone > 0 ? 'partial' : 'failed';
  }

  #end(state: RunState): void {
    this.#state = state;
    this.#reasons = [];
    this.#endedMs = this.#clock.wallMs();
    this.#changed(this);
  }
}

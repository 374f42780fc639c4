import { Counter, Gauge, type Registry } from 'prom-client';
import type { RunEvent } from '../base/events/run.ts';

/**
 * What jobs do. Jobs are configured, so their names are bounded; the label is `job_name` because
 * Prometheus has a `job` of its own.
 */
export class RunMetrics {
  readonly #ended: Counter<'job_name' | 'state'>;
  readonly #bytes: Counter<'job_name'>;
  readonly #failures: Counter<'job_name'>;
  readonly #active: Gauge<'state'>;
  readonly #seconds: Gauge<'job_name'>;
  readonly #lastSuccess: Gauge<'job_name'>;
  /** By the id of the run; those that have not ended. */
  readonly #states = new Map<string, string>();

  constructor(registry: Registry) {
    const registers = [registry];
    this.#ended = new Counter({
      name: 'entrepot_runs_total',
      help: 'Runs of jobs that ended, by how they did',
      labelNames: ['job_name', 'state'],
      registers,
    });
    this.#bytes = new Counter({
      name: 'entrepot_run_bytes_total',
      help: 'Bytes that runs saw to, fetched or here already',
      labelNames: ['job_name'],
      registers,
    });
    this.#failures = new Counter({
      name: 'entrepot_run_failures_total',
      help: 'Images, blobs and other objects that failed for good in a run',
      labelNames: ['job_name'],
      registers,
    });
    this.#active = new Gauge({
      name: 'entrepot_runs_active',
      help: 'Runs that have not ended',
      labelNames: ['state'],
      registers,
    });
    for (const state of ['queued', 'running', 'waiting']) this.#active.set({ state }, 0);
    this.#seconds = new Gauge({
      name: 'entrepot_run_duration_seconds',
      help: 'How long the last run took that ended',
      labelNames: ['job_name'],
      registers,
    });
    this.#lastSuccess = new Gauge({
      name: 'entrepot_run_last_success_timestamp_seconds',
      help: 'When a run last succeeded, since the start of the process',
      labelNames: ['job_name'],
      registers,
    });
  }

  observe(event: RunEvent): void {
    if (event.kind === 'run-changed') {
      this.#moveTo(event.id, event.state);
      return;
    }
    const { id, job, state, sizeBytes, errors, durationMs, isDryRun } = event;
    this.#moveTo(id, undefined);
    this.#ended.inc({ job_name: job, state });
    this.#seconds.set({ job_name: job }, durationMs / 1000);
    this.#failures.inc({ job_name: job }, errors);
    if (!isDryRun) this.#bytes.inc({ job_name: job }, Math.max(0, sizeBytes));
    if (state === 'succeeded') this.#lastSuccess.setToCurrentTime({ job_name: job });
  }

  #moveTo(id: string, state: string | undefined): void {
    const before = this.#states.get(id);
    if (before !== undefined) this.#active.dec({ state: before });
    if (state === undefined) {
      this.#states.delete(id);
      return;
    }
    this.#active.inc({ state });
    this.#states.set(id, state);
  }
}

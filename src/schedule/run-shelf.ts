import { nothingDone, type RunRecord } from './run.ts';

/** Where runs outlive the process: documents by key. */
export interface Documents {
  find(kind: string, key: string): Promise<unknown>;
  put(kind: string, key: string, document: unknown): Promise<void>;
  remove(kind: string, key: string): Promise<void>;
}

/** Runs of the past that are kept, of one job and of all, and for how long. */
const runsMax = { ofJob: 40, ofAll: 400 };
const keptMs = 30 * 86_400_000;

interface Entry {
  readonly id: string;
  readonly job: string;
}

/** The history of runs: a document each, and one that lists them, the newest first. */
export class RunShelf {
  readonly #documents: Documents;
  #entries: readonly Entry[] = [];

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /** Everything that is kept, the newest first. */
  async load(): Promise<RunRecord[]> {
    const index = await this.#documents.find('runs', 'index');
    const ids = Array.isArray(index) ? index.filter((id) => typeof id === 'string') : [];
    const found = await Promise.all(ids.map((id) => this.#documents.find('run', id)));
    const records = (found as (RunRecord | undefined)[])
      .filter((record) => record !== undefined)
      // An older version may have counted less.
      .map((record) => Object.assign(record, { progress: { ...nothingDone, ...record.progress } }));
    this.#entries = records.map(({ id, job }) => ({ id, job }));
    return records;
  }

  /** @returns the ids of the runs that went for it: a job that runs every second pushes out no other's */
  async save(record: RunRecord): Promise<readonly string[]> {
    const { id, job } = record;
    await this.#documents.put('run', id, record);
    if (this.#entries.some((entry) => entry.id === id)) return [];
    const before = [{ id, job }, ...this.#entries];
    const ofJob = before.filter((entry) => entry.job === job);
    const tooMany = new Set(ofJob.slice(runsMax.ofJob));
    const kept = before.filter((entry) => !tooMany.has(entry)).slice(0, runsMax.ofAll);
    this.#entries = kept;
    await this.#saveIndex();
    const dropped = before.filter((entry) => !kept.includes(entry)).map((entry) => entry.id);
    for (const one of dropped) await this.#documents.remove('run', one);
    return dropped;
  }

  isTooOld({ endedMs }: RunRecord, nowMs: number): boolean {
    return endedMs !== undefined && nowMs - endedMs > keptMs;
  }

  async remove(id: string): Promise<void> {
    this.#entries = this.#entries.filter((entry) => entry.id !== id);
    await this.#saveIndex();
    await this.#documents.remove('run', id);
  }

  /** When a job was last started by its timetable. */
  async lastStartMs(job: string): Promise<number | undefined> {
    const value = await this.#documents.find('last-start', job);
    return typeof value === 'number' ? value : undefined;
  }

  async noteStart(job: string, wallMs: number): Promise<void> {
    await this.#documents.put('last-start', job, wallMs);
  }

  async #saveIndex(): Promise<void> {
    await this.#documents.put(
      'runs',
      'index',
      this.#entries.map(({ id }) => id),
    );
  }
}

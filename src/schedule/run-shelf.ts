import type { RunRecord } from './run.ts';

/** Where runs outlive the process: documents by key. */
export interface Documents {
  find(kind: string, key: string): Promise<unknown>;
  put(kind: string, key: string, document: unknown): Promise<void>;
  remove(kind: string, key: string): Promise<void>;
}

/** Runs of the past that are kept, and for how long. */
const runsMax = 200;
const keptMs = 30 * 86_400_000;

/** The history of runs: a document each, and one that lists them, the newest first. */
export class RunShelf {
  readonly #documents: Documents;
  #ids: string[] = [];

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /** Everything that is kept, the newest first. */
  async load(): Promise<RunRecord[]> {
    const ids = await this.#documents.find('runs', 'index');
    this.#ids = Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [];
    const records = await Promise.all(this.#ids.map((id) => this.#documents.find('run', id)));
    return records.filter((record) => record !== undefined) as RunRecord[];
  }

  async save(record: RunRecord): Promise<void> {
    await this.#documents.put('run', record.id, record);
    if (this.#ids.includes(record.id)) return;
    this.#ids = [record.id, ...this.#ids];
    const dropped = this.#ids.splice(runsMax);
    await this.#documents.put('runs', 'index', this.#ids);
    for (const id of dropped) await this.#documents.remove('run', id);
  }

  isTooOld({ endedMs }: RunRecord, nowMs: number): boolean {
    return endedMs !== undefined && nowMs - endedMs > keptMs;
  }

  async remove(id: string): Promise<void> {
    this.#ids = this.#ids.filter((other) => other !== id);
    await this.#documents.put('runs', 'index', this.#ids);
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
}

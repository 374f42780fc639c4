import { randomUUID } from 'node:crypto';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Clock } from '../base/clock.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/reference.ts';

/** A tag began to name a digest, or names nothing any more; or all that an image needs has arrived. */
export interface Change {
  readonly kind: 'set' | 'delete' | 'complete';
  readonly repository: Repository;
  readonly tag: string;
  /** What the tag names; undefined for `delete`. */
  readonly digest: Digest | undefined;
  readonly mediaType: string | undefined;
}

/** A change in its place in the log; `atMs` is for people, the order is that of `seq`. */
export interface LoggedChange extends Change {
  readonly seq: number;
  readonly atMs: number;
}

/** Changes that are kept; a follower that is further behind compares everything. */
const changesMax = 100_000;

/** So many are dropped at once, so that most writes drop none. */
const pruneStep = 1_000;

/**
 * What changed here, in order, for other sites to follow: durable, bounded, with numbers that are never
 * used twice. Many wait for one write.
 */
export class ChangeLog {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #clock: Clock;
  /** Tells this log from another one with the same numbers: one that was begun anew, or restored. */
  readonly id: string;
  readonly #waiting = new Set<() => void>();
  #latest: number;
  #oldest: number;

  /** @throws the error of node:sqlite when the file cannot be opened */
  constructor(file: string, clock: Clock) {
    this.#clock = clock;
    this.#database = new DatabaseSync(file);
    this.#database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
       CREATE TABLE IF NOT EXISTS changes (
         seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
         registry TEXT NOT NULL, name TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT, type TEXT);
       CREATE TABLE IF NOT EXISTS log (id TEXT NOT NULL)`,
    );
    this.id = idOf(this.#database);
    this.#insert = this.#database.prepare(
      'INSERT INTO changes (at, kind, registry, name, tag, digest, type) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#select = this.#database.prepare(
      'SELECT * FROM changes WHERE seq > ? ORDER BY seq LIMIT ?',
    );
    const range = this.#database
      .prepare('SELECT min(seq) AS oldest, max(seq) AS latest FROM changes')
      .get();
    this.#latest = Number(range?.['latest'] ?? 0);
    this.#oldest = Number(range?.['oldest'] ?? this.#latest + 1);
  }

  /** The number of the last change; 0 before the first. */
  get latest(): number {
    return this.#latest;
  }

  /** Whether what follows `seq` is still here, and `seq` is no number of the future. */
  reaches(seq: number): boolean {
    return seq >= this.#oldest - 1 && seq <= this.#latest;
  }

  append({ kind, repository, tag, digest, mediaType }: Change): void {
    const { registry, name } = repository;
    const at = this.#clock.wallMs();
    const type = mediaType ?? null;
    const { lastInsertRowid } = this.#insert.run(
      at,
      kind,
      registry,
      name,
      tag,
      digest ?? null,
      type,
    );
    this.#latest = Number(lastInsertRowid);
    this.#oldest = Math.min(this.#oldest, this.#latest);
    if (this.#latest - this.#oldest >= changesMax + pruneStep) this.#prune();
    for (const wake of this.#waiting) wake();
  }

  since(seq: number, limit: number): LoggedChange[] {
    return this.#select.all(seq, limit).map((row) => ({
      seq: Number(row['seq']),
      atMs: Number(row['at']),
      kind: row['kind'] as Change['kind'],
      repository: { registry: String(row['registry']), name: String(row['name']) },
      tag: String(row['tag']),
      digest: (row['digest'] ?? undefined) as Digest | undefined,
      mediaType: (row['type'] ?? undefined) as string | undefined,
    }));
  }

  /** Resolves when there is something after `seq`, or the time is over, or the signal ends it. */
  async after(seq: number, waitMs: number, signal: AbortSignal): Promise<void> {
    if (this.#latest > seq || waitMs === 0 || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    const leave = (): void => resolve();
    this.#waiting.add(resolve);
    signal.addEventListener('abort', leave, { once: true });
    await promise;
    clearTimeout(timer);
    signal.removeEventListener('abort', leave);
    this.#waiting.delete(resolve);
  }

  close(): void {
    for (const wake of this.#waiting) wake();
    this.#database.close();
  }

  #prune(): void {
    this.#oldest = this.#latest - changesMax + 1;
    this.#database.prepare('DELETE FROM changes WHERE seq < ?').run(this.#oldest);
  }
}

function idOf(database: DatabaseSync): string {
  const kept = database.prepare('SELECT id FROM log').get()?.['id'];
  if (typeof kept === 'string') return kept;
  const id = randomUUID();
  database.prepare('INSERT INTO log (id) VALUES (?)').run(id);
  return id;
}

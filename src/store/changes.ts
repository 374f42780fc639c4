import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/reference.ts';
import { closeBroken, databaseSuffixes, isUnreadable, putAside } from './damaged-database.ts';

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

/** In place of a file that cannot be written: some 300 bytes each. */
const changesInMemoryMax = 10_000;

/** So many are dropped at once, so that most writes drop none. */
const pruneStep = 1_000;

/** How long a write waits for another process that holds the file, a backup for one. */
const busyTimeoutMs = 1_000;

/**
 * What changed here, in order, for other sites to follow: durable, bounded, with numbers that are never
 * used twice. Many wait for one write.
 *
 * A file that cannot be opened, read or written is put aside or removed, and the log begins anew under
 * another id: followers then compare everything once. Where a new file cannot be made either, it is kept
 * in memory until the next start. Nothing fails that only wants to note a change.
 */
export class ChangeLog {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #waiting = new Set<() => void>();
  #opened: Opened;
  #isClosed = false;

  constructor(file: string, clock: Clock, observe: Observe) {
    this.#file = file;
    this.#clock = clock;
    this.#observe = observe;
    try {
      this.#opened = open(file);
    } catch (error) {
      this.#opened = this.#openAnew(error);
    }
  }

  /** Tells this log from another one with the same numbers: one that was begun anew, or restored. */
  get id(): string {
    return this.#opened.id;
  }

  /** The number of the last change; 0 before the first. */
  get latest(): number {
    return this.#opened.latest;
  }

  /** Whether what follows `seq` is still here, and `seq` is no number of the future. */
  reaches(seq: number): boolean {
    return seq >= this.#opened.oldest - 1 && seq <= this.#opened.latest;
  }

  append(change: Change): void {
    this.#use((opened) => this.#insert(opened, change));
    for (const wake of this.#waiting) wake();
  }

  since(seq: number, limit: number): LoggedChange[] {
    return this.#use(({ select }) => select.all(seq, limit).map(changeOf)) ?? [];
  }

  /**
   * Resolves when there is something after `seq`, or the time is over, or the signal ends it; also when
   * the log has begun anew.
   */
  async after(seq: number, waitMs: number, signal: AbortSignal): Promise<void> {
    if (this.latest > seq || waitMs === 0 || signal.aborted) return;
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

  /** Idempotent. What comes later is not noted: the file stays as it is. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const wake of this.#waiting) wake();
    closeBroken(this.#opened.database);
    // What it says has a gap by now; the next start begins anew.
    if (this.#opened.isInMemory) this.#removeFile(undefined);
  }

  #insert(opened: Opened, { kind, repository, tag, digest, mediaType }: Change): void {
    const { registry, name } = repository;
    const at = this.#clock.wallMs();
    const type = mediaType ?? null;
    const { lastInsertRowid } = opened.insert.run(
      at,
      kind,
      registry,
      name,
      tag,
      digest ?? null,
      type,
    );
    opened.latest = Number(lastInsertRowid);
    opened.oldest = Math.min(opened.oldest, opened.latest);
    const max = opened.isInMemory ? changesInMemoryMax : changesMax;
    if (opened.latest - opened.oldest < max + pruneStep) return;
    opened.oldest = opened.latest - max + 1;
    opened.prune.run(opened.oldest);
  }

  /** Undefined when it is closed, or had to begin anew: whoever follows it compares everything then. */
  #use<T>(work: (opened: Opened) => T): T | undefined {
    if (this.#isClosed) return undefined;
    try {
      return work(this.#opened);
    } catch (error) {
      closeBroken(this.#opened.database);
      this.#opened = this.#openAnew(error);
      for (const wake of this.#waiting) wake();
      return undefined;
    }
  }

  #openAnew(error: unknown): Opened {
    this.#failed(error);
    this.#removeFile(error);
    try {
      return open(this.#file);
    } catch (again) {
      this.#failed(again);
      return open(inMemory);
    }
  }

  /** What somebody may want to look at is put aside; else a full disk has use for the space. */
  #removeFile(error: unknown): void {
    try {
      const stat = fs.lstatSync(this.#file, { throwIfNoEntry: false });
      if (isUnreadable(error) || stat?.isFile() === false) putAside(this.#file);
      else {
        for (const suffix of databaseSuffixes) fs.rmSync(this.#file + suffix, { force: true });
      }
    } catch {
      // Why it could not be opened is said already.
    }
  }

  #failed(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `the log of changes in ${this.#file} could not be kept (${reason}); sites that follow this one compare everything once`;
    this.#observe({ kind: 'store-failed', operation: 'changes', message });
  }
}

/** The name that SQLite has for a database without a file. */
const inMemory = ':memory:';

interface Opened {
  readonly database: DatabaseSync;
  readonly isInMemory: boolean;
  readonly id: string;
  readonly insert: StatementSync;
  readonly select: StatementSync;
  readonly prune: StatementSync;
  latest: number;
  oldest: number;
}

function open(file: string): Opened {
  const database = new DatabaseSync(file, { timeout: busyTimeoutMs });
  try {
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
       CREATE TABLE IF NOT EXISTS changes (
         seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
         registry TEXT NOT NULL, name TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT, type TEXT);
       CREATE TABLE IF NOT EXISTS log (id TEXT NOT NULL)`,
    );
    const range = database
      .prepare('SELECT min(seq) AS oldest, max(seq) AS latest FROM changes')
      .get();
    const latest = Number(range?.['latest'] ?? 0);
    return {
      database,
      isInMemory: file === inMemory,
      id: idOf(database),
      insert: database.prepare(
        'INSERT INTO changes (at, kind, registry, name, tag, digest, type) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ),
      select: database.prepare('SELECT * FROM changes WHERE seq > ? ORDER BY seq LIMIT ?'),
      prune: database.prepare('DELETE FROM changes WHERE seq < ?'),
      latest,
      oldest: Number(range?.['oldest'] ?? latest + 1),
    };
  } catch (error) {
    closeBroken(database);
    throw error;
  }
}

function changeOf(row: Record<string, SQLOutputValue>): LoggedChange {
  return {
    seq: Number(row['seq']),
    atMs: Number(row['at']),
    kind: row['kind'] as Change['kind'],
    repository: { registry: String(row['registry']), name: String(row['name']) },
    tag: String(row['tag']),
    digest: (row['digest'] ?? undefined) as Digest | undefined,
    mediaType: (row['type'] ?? undefined) as string | undefined,
  };
}

function idOf(database: DatabaseSync): string {
  const kept = database.prepare('SELECT id FROM log').get()?.['id'];
  if (typeof kept === 'string') return kept;
  const id = randomUUID();
  database.prepare('INSERT INTO log (id) VALUES (?)').run(id);
  return id;
}

import fs from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Clock } from '../../base/clock.ts';
import type { Observe } from '../../base/events.ts';
import { encodedOf, type Digest } from '../../oci/digest.ts';
import type { Resident } from '../eviction/eviction.ts';

/** How often what has changed is written. */
const flushEveryMs = 5_000;

/** A blob that is used all the time is written no more often than this. */
const blobEveryMs = 60_000;

/** Rows of one transaction: some 3 ms of the event loop, then others have their turn. */
const batchSize = 50;

/**
 * When each blob was last used, kept across restarts, and how much was stored. What is used again and
 * again is written as used for the minute to come, in which it is not written: so it never looks older
 * than what was used once meanwhile. It is a
 * cache of what happened, not of the content: without it the order is that of the files' times. Writes
 * are never synced, so a power cut may cost it; a killed process does not.
 */
export class Recency {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #storedBytes: () => number | undefined;
  readonly #used = new Map<Digest, Resident>();
  /** Of those, used more than once in the last minute. */
  readonly #again = new Set<Digest>();
  readonly #forgotten = new Set<Digest>();
  /** What was written less than `blobEveryMs` ago; the oldest first. */
  readonly #written = new Map<Digest, number>();
  readonly #timer: NodeJS.Timeout;
  #opened: Opened | undefined;
  #flushing: Promise<void> | undefined;

  constructor(parts: {
    readonly file: string;
    readonly clock: Clock;
    readonly observe: Observe;
    /** Undefined while it is not known. */
    readonly storedBytes: () => number | undefined;
  }) {
    this.#file = parts.file;
    this.#clock = parts.clock;
    this.#observe = parts.observe;
    this.#storedBytes = parts.storedBytes;
    this.#opened = this.#open();
    this.#timer = setInterval(() => void this.flush(), flushEveryMs).unref();
  }

  /** What was stored when it was last written down; undefined when nobody knows. */
  get lastStoredBytes(): number | undefined {
    return this.#try(({ stored }) => stored.get()?.['bytes'] as number | undefined);
  }

  used(resident: Resident): void {
    const { digest } = resident;
    if (this.#used.has(digest) || this.#written.has(digest)) this.#again.add(digest);
    this.#used.set(digest, resident);
    this.#forgotten.delete(digest);
  }

  forget(digest: Digest): void {
    this.#used.delete(digest);
    this.#again.delete(digest);
    this.#written.delete(digest);
    this.#forgotten.add(digest);
  }

  /** Writes what is due, in steps between which others work. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flushInSteps(this.#due()).finally(() => {
      this.#flushing = undefined;
    });
    return this.#flushing;
  }

  /** Writes all there is, and closes. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#flushing;
    await this.#flushInSteps([...this.#used.values()]);
    this.#try(({ database }) => database.close());
    this.#opened = undefined;
  }

  #due(): Resident[] {
    const now = this.#clock.monotonicMs();
    for (const [digest, atMs] of this.#written) {
      if (now - atMs < blobEveryMs) break;
      this.#written.delete(digest);
    }
    return [...this.#used.values()].filter(({ digest }) => !this.#written.has(digest));
  }

  async #flushInSteps(due: readonly Resident[]): Promise<void> {
    const forgotten = [...this.#forgotten];
    for (let at = 0; at < Math.max(due.length, forgotten.length); at += batchSize) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      this.#write(due.slice(at, at + batchSize), forgotten.slice(at, at + batchSize));
    }
  }

  #write(used: readonly Resident[], forgotten: readonly Digest[]): void {
    const nowMs = this.#clock.monotonicMs();
    this.#try(({ database, put, drop, putStored }) => {
      database.exec('BEGIN');
      try {
        for (const { digest, usedMs } of used) {
          if (!this.#used.has(digest)) continue;
          const aheadMs = this.#again.has(digest) ? blobEveryMs : 0;
          put.run(keyOf(digest), Math.round(usedMs + aheadMs));
        }
        for (const digest of forgotten) {
          if (this.#forgotten.has(digest)) drop.run(keyOf(digest));
        }
        const storedBytes = this.#storedBytes();
        if (storedBytes !== undefined) putStored.run(storedBytes);
        database.exec('COMMIT');
      } catch (error) {
        // A full disk has rolled back already.
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
    });
    for (const { digest } of used) {
      if (this.#used.delete(digest)) this.#written.set(digest, nowMs);
      this.#again.delete(digest);
    }
    for (const digest of forgotten) this.#forgotten.delete(digest);
  }

  #open(): Opened | undefined {
    try {
      return open(this.#file);
    } catch {
      try {
        // Whatever it was, it is no use any more.
        for (const suffix of ['', '-wal', '-shm']) fs.rmSync(this.#file + suffix, { force: true });
        return open(this.#file);
      } catch (error) {
        this.#failed(error);
        return undefined;
      }
    }
  }

  /** A database that fails costs the order after the next restart, nothing now. */
  #try<T>(work: (opened: Opened) => T): T | undefined {
    if (this.#opened === undefined) return undefined;
    try {
      return work(this.#opened);
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  #failed(error: unknown): void {
    const message = `the order of use could not be kept: ${String(error)}`;
    this.#observe({ kind: 'store-failed', operation: 'recency', message });
  }
}

/** Looks up, for a scan on another thread, when a blob was last used; undefined when nobody knows. */
export function openRecencyReader(file: string): {
  usedMs(digest: Digest): number | undefined;
  close(): void;
} {
  try {
    const database = new DatabaseSync(file, { readOnly: true, timeout: 1_000 });
    const find = database.prepare('SELECT used FROM recency WHERE digest = ?');
    return {
      usedMs: (digest) => find.get(keyOf(digest))?.['used'] as number | undefined,
      close: () => database.close(),
    };
  } catch {
    return { usedMs: () => undefined, close: () => {} };
  }
}

interface Opened {
  readonly database: DatabaseSync;
  readonly put: StatementSync;
  readonly drop: StatementSync;
  readonly putStored: StatementSync;
  readonly stored: StatementSync;
}

function open(file: string): Opened {
  const database = new DatabaseSync(file, { timeout: 1_000 });
  try {
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = OFF;
      CREATE TABLE IF NOT EXISTS recency (digest BLOB PRIMARY KEY, used INTEGER) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS stored (id INTEGER PRIMARY KEY, bytes INTEGER);
    `);
    return {
      database,
      put: database.prepare('INSERT OR REPLACE INTO recency VALUES (?, ?)'),
      drop: database.prepare('DELETE FROM recency WHERE digest = ?'),
      putStored: database.prepare('INSERT OR REPLACE INTO stored VALUES (1, ?)'),
      stored: database.prepare('SELECT bytes FROM stored'),
    };
  } catch (error) {
    database.close();
    throw error;
  }
}

/** 32 or 64 bytes; the length tells the algorithm. */
function keyOf(digest: Digest): Buffer {
  return Buffer.from(encodedOf(digest), 'hex');
}

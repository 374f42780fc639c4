import { EventEmitter } from 'node:events';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { KeyvStorageAdapter, KeyvStorageEntry, KeyvStorageGetResult } from 'keyv';
import { closeBroken, isUnreadable, putAside } from './damaged-database.ts';

/** Keys that one step of a scan reads; between steps other work runs. */
const scanBatch = 500;

/** How long to wait for another process that holds the file, a backup for one. */
const busyTimeoutMs = 5_000;

interface Opened {
  readonly database: DatabaseSync;
  readonly get: StatementSync;
  readonly set: StatementSync;
  readonly delete: StatementSync;
  readonly scan: StatementSync;
}

/**
 * A keyv storage adapter over the SQLite that is built into Node: one table in one file, WAL, so that
 * a killed process loses the last moments at most and never the file. Values are keyv's own text, in
 * which keyv keeps and checks the time to live.
 *
 * A file that is no database any more, be it at the start or found out later, is put aside as
 * `….corrupt`, in the place of an earlier one, and begun anew: names are a cache.
 *
 * @throws the error of node:sqlite, when the file cannot be opened for another reason: busy, permissions
 */
export class SqliteKeyv extends EventEmitter implements KeyvStorageAdapter {
  readonly #file: string;
  readonly #onPutAside: (file: string) => void;
  #opened: Opened;

  /** @param onPutAside is told where an unreadable file went; may be called by the constructor */
  constructor(file: string, onPutAside: (file: string) => void = () => {}) {
    super();
    this.#file = file;
    this.#onPutAside = onPutAside;
    try {
      this.#opened = open(file);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.#opened = this.#beginAnew();
    }
  }

  async get<Value>(key: string): Promise<KeyvStorageGetResult<Value>> {
    return this.#use(({ get }) => get.get(key)?.['value'] as KeyvStorageGetResult<Value>);
  }

  async getMany<Value>(keys: string[]): Promise<KeyvStorageGetResult<Value | undefined>[]> {
    return Promise.all(keys.map((key) => this.get<Value>(key)));
  }

  async set(key: string, value: unknown): Promise<boolean> {
    this.#use(({ set }) => set.run(key, value as string));
    return true;
  }

  /** All or none. */
  async setMany<Value>(values: KeyvStorageEntry<Value>[]): Promise<boolean[]> {
    this.#inTransaction(({ set }) => {
      for (const { key, value } of values) set.run(key, value as string);
    });
    return values.map(() => true);
  }

  async delete(key: string): Promise<boolean> {
    return this.#use((opened) => opened.delete.run(key).changes > 0);
  }

  /** All or none. */
  async deleteMany(keys: string[]): Promise<boolean[]> {
    const deleted: boolean[] = [];
    this.#inTransaction((opened) => {
      for (const key of keys) deleted.push(opened.delete.run(key).changes > 0);
    });
    return deleted;
  }

  async clear(): Promise<void> {
    this.#use(({ database }) => database.exec('DELETE FROM entries'));
  }

  async has(key: string): Promise<boolean> {
    return this.#use(({ get }) => get.get(key) !== undefined);
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return Promise.all(keys.map((key) => this.has(key)));
  }

  async *iterator<Value>(): AsyncGenerator<(string | Awaited<Value> | undefined)[], void> {
    for await (const [key, value] of this.entries('')) yield [key, value];
  }

  /**
   * Keys that begin with a prefix, and their values as stored, in the order of the keys. No snapshot:
   * what is written meanwhile may be in it or not.
   */
  async *entries(prefix: string): AsyncGenerator<[string, string], void> {
    const end = `${prefix}\uffff`;
    for (let after = prefix; ;) {
      const rows = this.#use(({ scan }) => scan.all(after, end)) as {
        key: string;
        value: string;
      }[];
      for (const { key, value } of rows) yield [key, value];
      const last = rows.at(-1);
      if (last === undefined || rows.length < scanBatch) return;
      after = last.key;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async disconnect(): Promise<void> {
    this.#opened.database.close();
  }

  /** The work that finds the file broken fails; what comes after it has a new one. */
  #use<T>(work: (opened: Opened) => T): T {
    const opened = this.#opened;
    try {
      return work(opened);
    } catch (error) {
      if (isUnreadable(error) && opened === this.#opened) {
        closeBroken(opened.database);
        this.#opened = this.#beginAnew();
      }
      throw error;
    }
  }

  #inTransaction(work: (opened: Opened) => void): void {
    this.#use((opened) => {
      const { database } = opened;
      database.exec('BEGIN IMMEDIATE');
      try {
        work(opened);
        database.exec('COMMIT');
      } catch (error) {
        // A full disk has rolled back already; a second time would hide why.
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  #beginAnew(): Opened {
    this.#onPutAside(putAside(this.#file));
    return open(this.#file);
  }
}

function open(file: string): Opened {
  const database = new DatabaseSync(file, { timeout: busyTimeoutMs });
  try {
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = NORMAL;
      CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    `);
    const opened: Opened = {
      database,
      get: database.prepare('SELECT value FROM entries WHERE key = ?'),
      set: database.prepare(
        'INSERT INTO entries (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      ),
      delete: database.prepare('DELETE FROM entries WHERE key = ?'),
      scan: database.prepare(
        `SELECT key, value FROM entries WHERE key > ? AND key < ? ORDER BY key LIMIT ${scanBatch}`,
      ),
    };
    opened.get.get('');
    return opened;
  } catch (error) {
    closeBroken(database);
    throw error;
  }
}

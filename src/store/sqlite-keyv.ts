import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { KeyvStorageAdapter, KeyvStorageEntry, KeyvStorageGetResult } from 'keyv';

/** Keys that one step of a scan reads; between steps other work runs. */
const scanBatch = 500;

/**
 * A keyv storage adapter over the SQLite that is built into Node: one table in one file, WAL, so that
 * a killed process loses the last moments at most and never the file. Values are keyv's own text.
 *
 * A file that is no database any more is put aside as `….corrupt` and begun anew: names are a cache.
 */
export class SqliteKeyv extends EventEmitter implements KeyvStorageAdapter {
  readonly #database: DatabaseSync;
  readonly #get: StatementSync;
  readonly #set: StatementSync;
  readonly #delete: StatementSync;
  readonly #scan: StatementSync;

  constructor(file: string) {
    super();
    this.#database = openDatabase(file);
    this.#get = this.#database.prepare('SELECT value FROM entries WHERE key = ?');
    this.#set = this.#database.prepare(
      'INSERT INTO entries (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    );
    this.#delete = this.#database.prepare('DELETE FROM entries WHERE key = ?');
    this.#scan = this.#database.prepare(
      `SELECT key, value FROM entries WHERE key > ? AND key < ? ORDER BY key LIMIT ${scanBatch}`,
    );
  }

  async get<Value>(key: string): Promise<KeyvStorageGetResult<Value>> {
    return this.#get.get(key)?.['value'] as KeyvStorageGetResult<Value>;
  }

  async getMany<Value>(keys: string[]): Promise<KeyvStorageGetResult<Value | undefined>[]> {
    return Promise.all(keys.map((key) => this.get<Value>(key)));
  }

  async set(key: string, value: unknown): Promise<boolean> {
    this.#set.run(key, value as string);
    return true;
  }

  /** All or none. */
  async setMany<Value>(values: KeyvStorageEntry<Value>[]): Promise<boolean[]> {
    this.#inTransaction(() => {
      for (const { key, value } of values) this.#set.run(key, value as string);
    });
    return values.map(() => true);
  }

  async delete(key: string): Promise<boolean> {
    return this.#delete.run(key).changes > 0;
  }

  async deleteMany(keys: string[]): Promise<boolean[]> {
    const deleted: boolean[] = [];
    this.#inTransaction(() => {
      for (const key of keys) deleted.push(this.#delete.run(key).changes > 0);
    });
    return deleted;
  }

  async clear(): Promise<void> {
    this.#database.exec('DELETE FROM entries');
  }

  async has(key: string): Promise<boolean> {
    return this.#get.get(key) !== undefined;
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return Promise.all(keys.map((key) => this.has(key)));
  }

  iterator<Value>(): AsyncGenerator<(string | Awaited<Value> | undefined)[], void> {
    return this.entries('');
  }

  /** Keys that begin with a prefix, and their values as stored, in the order of the keys. */
  async *entries(prefix: string): AsyncGenerator<[string, string], void> {
    const end = `${prefix}\uffff`;
    for (let after = prefix; ;) {
      const rows = this.#scan.all(after, end) as { key: string; value: string }[];
      for (const { key, value } of rows) yield [key, value];
      const last = rows.at(-1);
      if (last === undefined || rows.length < scanBatch) return;
      after = last.key;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async disconnect(): Promise<void> {
    this.#database.close();
  }

  #inTransaction(work: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      work();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    }
  }
}

function openDatabase(file: string): DatabaseSync {
  try {
    return prepareDatabase(file);
  } catch {
    for (const suffix of ['', '-wal', '-shm']) {
      fs.rmSync(`${file}.corrupt${suffix}`, { force: true });
      if (fs.existsSync(file + suffix)) fs.renameSync(file + suffix, `${file}.corrupt${suffix}`);
    }
    return prepareDatabase(file);
  }
}

function prepareDatabase(file: string): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: 5_000 });
  try {
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = NORMAL;
      CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    `);
    database.prepare('SELECT count(*) FROM (SELECT 1 FROM entries LIMIT 1)').get();
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

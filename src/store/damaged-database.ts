import fs from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

/** SQLITE_CORRUPT and SQLITE_NOTADB; sqlite.org/rescode.html. */
const unreadableCodes = new Set([11, 26]);

/** SQLITE_BUSY: another connection has it. */
const busyCode = 5;

/** Whether the file is no database, or not any more. */
export function isUnreadable(error: unknown): boolean {
  const code = primaryCodeOf(error);
  return code !== undefined && unreadableCodes.has(code);
}

export function isBusy(error: unknown): boolean {
  return primaryCodeOf(error) === busyCode;
}

/**
 * Renames a database to `….corrupt`, in the place of an earlier one, with all that belongs to it.
 * @returns where it went
 */
export function putAside(file: string): string {
  const aside = `${file}.corrupt`;
  for (const suffix of databaseSuffixes) {
    fs.rmSync(aside + suffix, { force: true, recursive: true });
    if (fs.existsSync(file + suffix)) fs.renameSync(file + suffix, aside + suffix);
  }
  return aside;
}

/** Of the files that are one database: itself, its log, and what its users share. */
export const databaseSuffixes = ['', '-wal', '-shm'] as const;

export function closeBroken(database: DatabaseSync): void {
  try {
    database.close();
  } catch {
    // The error that led here says more.
  }
}

/** The low byte is the primary code, whatever the build adds to it. */
function primaryCodeOf(error: unknown): number | undefined {
  const { errcode } = (error ?? {}) as { errcode?: unknown };
  return typeof errcode === 'number' ? errcode & 0xff : undefined;
}

import fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import path from 'node:path';
import { MirrorError } from '../../oci/errors.ts';
import { closeBroken, isBusy, isUnreadable } from '../damaged-database.ts';

/** That a folder is ours. */
export interface FolderLock {
  /** Whether the folder that is there now is the one that was taken. */
  holds(): boolean;
  release(): void;
}

/**
 * Takes a folder for this store alone, until it is released or the process ends, however it ends:
 * the lock is the kernel's, by way of SQLite, so none is left behind by `kill -9`. The file `lock` stays
 * and means nothing by itself; one that is damaged is emptied.
 * @throws MirrorError DISK_FAILED when somebody else has it, or it cannot be locked at all
 */
export function lockFolder(folder: string): FolderLock {
  const file = path.join(folder, 'lock');
  try {
    return lock(file);
  } catch (error) {
    if (isBusy(error)) throw takenBySomebody(folder, error);
    try {
      makeLockable(file, error);
      return lock(file);
    } catch (cause) {
      if (isBusy(cause)) throw takenBySomebody(folder, cause);
      throw new MirrorError(
        'DISK_FAILED',
        `the storage folder ${folder} cannot be locked (${(cause as Error).message}); remove ${file} while no mirror runs there, and check the owner and the permissions of the folder`,
        { cause },
      );
    }
  }
}

function lock(file: string): FolderLock {
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    // The transaction stays open, and writes nothing: it is the lock.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    closeBroken(database);
    throw error;
  }
  const inode = inodeOf(file);
  return { holds: () => inodeOf(file) === inode, release: () => closeBroken(database) };
}

/** Of a file that we have open nobody else gets the number. */
function inodeOf(file: string): bigint | undefined {
  return fs.lstatSync(file, { throwIfNoEntry: false, bigint: true })?.ino;
}

/**
 * Emptied in its place, never replaced: of two processes that find the same damage, both lock the same
 * file. A folder is removed when it is empty, which no file can be taken for.
 */
function makeLockable(file: string, error: unknown): void {
  if (isUnreadable(error)) fs.truncateSync(file);
  else if (fs.lstatSync(file, { throwIfNoEntry: false })?.isDirectory() === true) {
    fs.rmdirSync(file);
  } else throw error;
}

function takenBySomebody(folder: string, cause: unknown): MirrorError {
  return new MirrorError(
    'DISK_FAILED',
    `another process uses the storage folder ${folder}; stop it, or give this one a storage.path of its own`,
    { cause },
  );
}

import { DatabaseSync } from 'node:sqlite';
import path from 'node:path';
import { MirrorError } from '../../oci/errors.ts';

/**
 * Takes a folder for this store alone, until the answer is called or the process ends, however it ends:
 * the lock is the kernel's, by way of SQLite, so none is left behind by `kill -9`. The file `lock` stays
 * and means nothing by itself.
 * @throws MirrorError DISK_FAILED when somebody else has it
 */
export function lockFolder(folder: string): () => void {
  const database = new DatabaseSync(path.join(folder, 'lock'), { timeout: 0 });
  try {
    // The transaction stays open, and writes nothing: it is the lock.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    throw new MirrorError(
      'DISK_FAILED',
      `another process uses the storage folder ${folder}; stop it, or give this one a storage.path of its own`,
      { cause },
    );
  }
  return () => database.close();
}

import fs from 'node:fs';
import path from 'node:path';
import type { Observe } from '../base/events.ts';
import { MirrorError } from '../oci/errors.ts';
import type { ChunkCache } from './chunk-cache.ts';
import { DiskBlobStore, type DiskBudget } from './disk-blob-store.ts';
import type { Disk } from './disk.ts';
import type { Hashing } from './hashing.ts';

/** The version of everything below the storage path; another one gets a folder of its own beside it. */
export const formatFolder = 'v1';

export interface StorageFolder {
  readonly store: DiskBlobStore;
  /** Where the names live. */
  readonly folder: string;
  /** Ends when the disk has been counted and old partials are gone. */
  readonly ready: Promise<void>;
}

/**
 * Opens the storage folder: at once, however much it holds. What a killed process left half done is
 * put aside now and removed in the background.
 * @throws MirrorError DISK_FAILED when the folder cannot be made or written
 */
export async function openStorage(parts: {
  readonly storagePath: string;
  readonly disk: Disk;
  readonly cache: ChunkCache;
  readonly hashing: Hashing;
  readonly budget: DiskBudget;
  readonly observe: Observe;
}): Promise<StorageFolder> {
  const folder = path.resolve(parts.storagePath, formatFolder);
  const temporary = path.join(folder, 'tmp');
  const old = path.join(folder, 'tmp-old');
  try {
    await parts.disk.makeFolder(path.join(folder, 'blobs', 'sha256'));
    await parts.disk.makeFolder(path.join(folder, 'blobs', 'sha512'));
    await fs.promises.mkdir(old, { recursive: true, mode: 0o700 });
    await fs.promises
      .rename(temporary, path.join(old, String(Date.now())))
      .catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    await parts.disk.makeFolder(temporary);
  } catch (cause) {
    throw new MirrorError(
      'DISK_FAILED',
      `the storage folder ${folder} cannot be prepared (${(cause as Error).message}); check storage.path, its owner and its permissions`,
      { cause },
    );
  }
  const store = new DiskBlobStore({ ...parts, folder });
  return { store, folder, ready: settleIn(store, old) };
}

async function settleIn(store: DiskBlobStore, old: string): Promise<void> {
  let removedPartials = 0;
  for (const name of await fs.promises.readdir(old).catch(() => [])) {
    const partials = await fs.promises.readdir(path.join(old, name)).catch(() => []);
    removedPartials += partials.length;
  }
  await fs.promises.rm(old, { recursive: true, force: true }).catch(() => {});
  await store.scan(removedPartials);
}

import fs from 'node:fs';
import path from 'node:path';
import { MirrorError } from '../oci/errors.ts';
import { isMissing, type Disk } from './disk.ts';
import { DiskBlobStore, type DiskBlobStoreParts } from './disk-blob-store.ts';
import { formatFolder } from './folder/layout.ts';
import { lastingDisk } from './folder/lasting-disk.ts';
import { closeToOthers, refuseWritableByOthers } from './folder/permissions.ts';
import { lockFolder, type FolderLock } from './folder/lock.ts';
import { ChecksumTable } from './verify/checksums.ts';
import { Quarantine } from './verify/quarantine.ts';
import { Verifier } from './verify/verifier.ts';

/** All that a store has, with itself; below the folder of the format. */
const folders = [
  '',
  'blobs',
  'blobs/sha256',
  'blobs/sha512',
  'tmp',
  'tmp-old',
  'partials',
  'quarantine',
];

export interface StorageFolder {
  readonly store: DiskBlobStore;
  readonly verifier: Verifier;
  /** Where the names live. */
  readonly folder: string;
  /** The disk, on which folders that somebody removes come back when they are needed. */
  readonly disk: Disk;
  /** Ends when the disk has been counted and old partials are sorted out, or at `close`. */
  readonly ready: Promise<void>;
  /** Closes the store, after whom the folder is free for another process. */
  close(): Promise<void>;
}

/**
 * Opens the storage folder, for this process alone: at once, however much it holds. What a killed
 * process left half done is put aside now and sorted out in the background.
 * @throws MirrorError DISK_FAILED when the folder cannot be made or written, or another process has it
 */
export async function openStorage(
  parts: Omit<DiskBlobStoreParts, 'folder' | 'verifier'> & {
    readonly storagePath: string;
    /** Whether what is read of a file is compared with its checksums. */
    readonly checksReads: boolean;
  },
): Promise<StorageFolder> {
  const folder = path.resolve(parts.storagePath, formatFolder);
  const temporary = path.join(folder, 'tmp');
  const old = path.join(folder, 'tmp-old');
  let lock: FolderLock | undefined;
  let disk: Disk;
  try {
    for (const below of ['blobs/sha256', 'blobs/sha512']) {
      await parts.disk.makeFolder(path.join(folder, below));
    }
    const ours = folders.map((below) => path.join(folder, below));
    for (const below of ours) await refuseLink(below);
    lock = lockFolder(folder);
    await fs.promises.mkdir(old, { recursive: true, mode: 0o700 });
    for (const [at, left] of [temporary, path.join(folder, 'partials')].entries()) {
      await fs.promises.rename(left, path.join(old, `${Date.now()}.${at}`)).catch(unlessMissing);
    }
    await parts.disk.makeFolder(temporary);
    await refuseWritableByOthers(ours, temporary);
    await closeToOthers(folder);
    disk = await lastingDisk(parts.disk, folder, async () => {
      if (lock?.holds() === true) return;
      lock?.release();
      lock = lockFolder(folder);
    });
  } catch (cause) {
    lock?.release();
    if (cause instanceof MirrorError) throw cause;
    throw new MirrorError(
      'DISK_FAILED',
      `the storage folder ${folder} cannot be prepared (${(cause as Error).message}); check storage.path, its owner and its permissions`,
      { cause },
    );
  }
  const { observe } = parts;
  const verifier = new Verifier({
    ...parts,
    folder,
    table: new ChecksumTable({ folder, observe }),
    quarantine: await Quarantine.open(folder, parts.budget.maxBytes),
  });
  const store = new DiskBlobStore({ ...parts, disk, folder, verifier });
  const abort = new AbortController();
  const ready = settleIn(store, old, abort.signal);
  const close = async (): Promise<void> => {
    abort.abort();
    await ready;
    await store.close();
    await verifier.close();
    lock?.release();
  };
  return { store, verifier, folder, disk, ready, close };
}

async function settleIn(store: DiskBlobStore, old: string, signal: AbortSignal): Promise<void> {
  const names = await fs.promises.readdir(old).catch(() => []);
  // The newest has the most of what was on its way.
  const leftovers = names.sort((a, b) => Number(b) - Number(a));
  await store.settleIn(
    leftovers.map((name) => path.join(old, name)),
    signal,
  );
}

function unlessMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** A link would have us write, or delete, in a folder that is not ours. */
async function refuseLink(folder: string): Promise<void> {
  const stat = await fs.promises.lstat(folder).catch(() => undefined);
  if (stat?.isSymbolicLink() !== true) return;
  throw new MirrorError(
    'DISK_FAILED',
    `${folder} is a symbolic link, which the store does not follow; put a folder in its place, or let storage.path itself be the link`,
  );
}

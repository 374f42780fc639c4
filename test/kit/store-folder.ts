import assert from 'node:assert/strict';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { sha256 } from './images.ts';

/** Blob files, with their paths. */
export function storedFiles(storagePath: string): Promise<string[]> {
  return filesBelow(join(storagePath, 'v1', 'blobs'));
}

/** What is on its way, or was when a process ended; without what waits to be gone on with. */
export async function arrivingFiles(storagePath: string): Promise<string[]> {
  const found = await Promise.all(
    ['tmp', 'tmp-old'].map((name) => filesBelow(join(storagePath, 'v1', name))),
  );
  return found.flat();
}

/** What content takes of the disk, as `du` counts it: blobs, what arrives, and what waits. */
export async function occupiedBytes(storagePath: string): Promise<number> {
  let bytes = 0;
  for (const name of ['blobs', 'tmp', 'tmp-old', 'partials']) {
    for (const file of await filesBelow(join(storagePath, 'v1', name))) {
      // What is renamed or removed meanwhile is counted elsewhere, or not at all.
      bytes += ((await lstat(file).catch(() => undefined))?.blocks ?? 0) * 512;
    }
  }
  return bytes;
}

/** Every stored file has the content that its name says. */
export async function assertFilesAreTheirNames(storagePath: string, hint = ''): Promise<void> {
  for (const file of await storedFiles(storagePath)) {
    const name = `${basename(dirname(dirname(file)))}:${basename(file)}`;
    assert.equal(sha256(await readFile(file)), name, hint);
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

import path from 'node:path';
import { algorithmOf, encodedOf, findDigest, type Digest } from '../../oci/digest.ts';

/** The version of everything below the storage path; another one gets a folder of its own beside it. */
export const formatFolder = 'v1';

/** The unit in which file systems give out space: 4 KiB, but for rare ones. */
const blockBytes = 4096;

/** `<folder>/blobs/sha256/ab/ab…`, for a digest that begins with ab. */
export function pathOfBlob(folder: string, digest: Digest): string {
  const encoded = encodedOf(digest);
  return path.join(folder, 'blobs', algorithmOf(digest), encoded.slice(0, 2), encoded);
}

/**
 * The blob that a file below `blobs` is, by its name and the folders that it lies in; undefined for a
 * file that is not one of ours.
 */
export function digestOfPath(file: string): Digest | undefined {
  const shard = path.dirname(file);
  const name = path.basename(file);
  if (!name.startsWith(path.basename(shard))) return undefined;
  return findDigest(`${path.basename(path.dirname(shard))}:${name}`);
}

/**
 * What a file takes of the disk: whole blocks, and never less than its length needs, for some file
 * systems say only later what a fresh file takes.
 */
export function occupiedBytesOf(sizeBytes: number, allocatedBytes: number = 0): number {
  return Math.max(Math.ceil(sizeBytes / blockBytes) * blockBytes, allocatedBytes);
}

import { randomBytes } from 'node:crypto';
import path from 'node:path';
import type { Finding } from '../base/finding.ts';
import { formatBytes } from '../base/units.ts';
import type { Disk } from './disk.ts';

/** Enough that a broken disk shows, little enough to be written on a full one. */
const sampleBytes = 256 * 1024;

/** A disk that needs longer for the sample holds up every download. */
const slowMs = 1_000;

/**
 * Writes, syncs, reads and removes a file where downloads are written, and looks at the space.
 * @param folder the storage folder of this format
 * @param minFreeBytes what must stay free of a file system of that size
 */
export async function examineDisk(
  disk: Disk,
  folder: string,
  minFreeBytes: (totalBytes: number) => number,
): Promise<Finding[]> {
  return [await examineWriting(disk, folder), await examineSpace(disk, folder, minFreeBytes)];
}

/**
 * Writes a file where downloads are written, syncs it, reads it and removes it.
 * @returns whether what was read is what was written
 * @throws what the disk throws
 */
export async function writeSample(disk: Disk, folder: string): Promise<boolean> {
  const sample = randomBytes(sampleBytes);
  const file = path.join(folder, 'tmp', `doctor-${randomBytes(8).toString('hex')}`);
  const written = await disk.open(file, 'wx+');
  try {
    await written.write(sample, 0);
    await written.datasync();
    const read = Buffer.alloc(sampleBytes);
    await written.read(read, 0);
    return read.equals(sample);
  } finally {
    await written.close();
    await disk.unlink(file);
  }
}

async function examineWriting(disk: Disk, folder: string): Promise<Finding> {
  const about = { check: 'disk', subject: folder } as const;
  const startMs = performance.now();
  try {
    if (!(await writeSample(disk, folder))) {
      const seen = 'what was written is not what is read back';
      return { ...about, state: 'failed', seen, mend: 'replace this disk' };
    }
  } catch (error) {
    return {
      ...about,
      state: 'failed',
      seen: `a file cannot be written and read: ${(error as Error).message}`,
      mend: 'check that the disk is mounted, healthy and not full, and that this user owns the folder; until then content is passed through uncached',
    };
  }
  const tookMs = Math.round(performance.now() - startMs);
  const seen = `written, synced, read and removed ${formatBytes(sampleBytes)} in ${tookMs} ms`;
  if (tookMs < slowMs) return { ...about, state: 'ok', seen };
  const mend = 'downloads wait for this disk: look at what else uses it, or move storage.path';
  return { ...about, state: 'warning', seen, mend };
}

async function examineSpace(
  disk: Disk,
  folder: string,
  minFreeBytes: (totalBytes: number) => number,
): Promise<Finding> {
  const about = { check: 'space', subject: folder } as const;
  try {
    const { freeBytes, totalBytes } = await disk.space(folder);
    const mustBytes = minFreeBytes(totalBytes);
    const seen = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free; ${formatBytes(mustBytes)} must stay so`;
    if (freeBytes > mustBytes) return { ...about, state: 'ok', seen };
    const mend =
      'what is cached is evicted for each download, or it is not cached: make room on this file system, or lower storage.minFree';
    return { ...about, state: 'warning', seen, mend };
  } catch (error) {
    const seen = `the space cannot be seen: ${(error as Error).message}`;
    return { ...about, state: 'failed', seen, mend: 'check that the file system is mounted' };
  }
}

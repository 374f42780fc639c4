import fs from 'node:fs';
import path from 'node:path';
import type { Disk } from '../disk.ts';

/**
 * The disk of a store whose folders come back when somebody removes them while the mirror runs: a
 * cleaner of old temporary files, or a person who empties the cache by hand. What only reads finds
 * nothing, and makes nothing. While the file system of the start is not there, nothing is made either:
 * where it was mounted is somebody else's disk.
 *
 * @param folder of this format; it is there
 * @param claim called when the folder is there again and before anything is written into it; rejects
 *   when it belongs to another process by now
 */
export async function lastingDisk(
  disk: Disk,
  folder: string,
  claim: () => Promise<void>,
): Promise<Disk> {
  const { dev: device } = await fs.promises.stat(folder);

  /** Whether there was something to make. */
  const remake = async (lost: string): Promise<boolean> => {
    if (lost !== folder && !lost.startsWith(folder + path.sep)) return false;
    const above = await nearestAbove(lost);
    if (above.folder === lost || above.device !== device) return false;
    if (!(await isThere(folder))) await disk.makeFolder(folder);
    await claim();
    await disk.makeFolder(lost);
    for (let made = lost; made !== above.folder; made = path.dirname(made)) {
      await disk.syncFolder(path.dirname(made));
    }
    return true;
  };
  let remaking: Promise<unknown> = Promise.resolve();
  const within = async <T>(lost: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      // One after the other: the folder is claimed once.
      const mine = remaking.then(() => remake(lost)).catch(() => false);
      remaking = mine;
      const wasRemade = await mine;
      // Somebody who asked at the same time may have made it.
      if (!wasRemade && !(await isThere(lost))) throw error;
      return work();
    }
  };

  return {
    open: (file, flags) =>
      flags === 'wx+'
        ? within(path.dirname(file), () => disk.open(file, flags))
        : disk.open(file, flags),
    syncFolder: (below) => disk.syncFolder(below),
    rename: (from, to) => within(path.dirname(to), () => disk.rename(from, to)),
    unlink: (file) => disk.unlink(file),
    unlinkAll: (files) => disk.unlinkAll(files),
    makeFolder: (below) => disk.makeFolder(below),
    space: (below) => within(below, () => disk.space(below)),
  };
}

async function isThere(folder: string): Promise<boolean> {
  return (await fs.promises.stat(folder).catch(() => undefined)) !== undefined;
}

/** The folder itself, or the nearest one above it that is there. */
async function nearestAbove(lost: string): Promise<{ folder: string; device: number }> {
  const stat = await fs.promises.stat(lost).catch(() => undefined);
  return stat === undefined ? nearestAbove(path.dirname(lost)) : { folder: lost, device: stat.dev };
}

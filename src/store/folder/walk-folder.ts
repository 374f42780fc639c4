import fs from 'node:fs';
import path from 'node:path';

export interface FolderEntry {
  readonly folder: string;
  readonly name: string;
  readonly sizeBytes: number;
  /** Last use as the file system knows it: the later of access and change, wall clock. */
  readonly usedMs: number;
}

/** Every plain file below a folder; links and devices are passed over, what vanishes meanwhile too. */
export async function* walkFolder(folder: string): AsyncGenerator<FolderEntry> {
  let entries: fs.Dirent[];
  try {
    entries = await fs.promises.readdir(folder, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) {
    if (entry.isDirectory()) yield* walkFolder(path.join(folder, entry.name));
    else if (entry.isFile()) {
      const stat = await fs.promises.lstat(path.join(folder, entry.name)).catch(() => undefined);
      if (stat === undefined) continue;
      const usedMs = Math.max(stat.atimeMs, stat.mtimeMs);
      yield { folder, name: entry.name, sizeBytes: stat.size, usedMs };
    }
  }
}

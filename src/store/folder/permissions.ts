import fs from 'node:fs';
import path from 'node:path';
import { MirrorError } from '../../oci/errors.ts';

const writableByOthers = 0o002;
const openToOthers = 0o077;

/**
 * Refuses folders into which every user of the machine may put content. Their groups may: volumes of
 * Kubernetes are shared by one (fsGroup). So may everybody where the file system knows no permissions,
 * and says so of a folder, too, that was made for its owner alone.
 *
 * @param fresh a folder that was just made so
 * @throws MirrorError DISK_FAILED
 */
export async function refuseWritableByOthers(
  folders: readonly string[],
  fresh: string,
): Promise<void> {
  if ((await modeOf(fresh)) & writableByOthers) return;
  for (const folder of folders) {
    const mode = await modeOf(folder);
    if ((mode & writableByOthers) === 0) continue;
    const octal = (mode & 0o7777).toString(8).padStart(4, '0');
    throw new MirrorError(
      'DISK_FAILED',
      `every user of this machine may write into ${folder} (mode ${octal}), and what they put there would be served; run «chmod -R o-w ${folder}», or set another storage.path`,
    );
  }
}

/** The databases that lie in a folder are for their owner, whatever an earlier version made of them. */
export async function closeToOthers(folder: string): Promise<void> {
  for (const entry of await fs.promises.readdir(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    // Another owner's, or a file system without permissions: it stays as it is.
    if (entry.isFile() && (await modeOf(file)) & openToOthers) {
      await fs.promises.chmod(file, 0o600).catch(() => {});
    }
  }
}

/** 0 of what is not there. */
async function modeOf(file: string): Promise<number> {
  return (await fs.promises.lstat(file).catch(() => undefined))?.mode ?? 0;
}

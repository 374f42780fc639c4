import fs from 'node:fs';
import path from 'node:path';
import { algorithmOf, encodedOf, type Digest } from '../../oci/digest.ts';

/** However large the cache is, more broken files than this help nobody to find out what broke them. */
const quarantineBytesMax = 1024 * 1024 * 1024;

/** Of the budget; so a small cache does not fill up with what is broken. */
const quarantineShare = 0.02;

interface Held {
  readonly file: string;
  readonly sizeBytes: number;
}

/**
 * The folder of files whose content was found wrong: kept for a person to look at, never served,
 * bounded. The oldest goes first; what is larger than the bound is removed at once.
 */
export class Quarantine {
  readonly #folder: string;
  readonly #maxBytes: number;
  /** The oldest first. */
  readonly #held: Held[];

  private constructor(folder: string, held: Held[], budgetBytes: number) {
    this.#folder = folder;
    this.#held = held;
    const share = budgetBytes === 0 ? Infinity : Math.floor(budgetBytes * quarantineShare);
    this.#maxBytes = Math.min(quarantineBytesMax, share);
  }

  /** @param budgetBytes of the whole cache; 0: without limit */
  static async open(storageFolder: string, budgetBytes: number): Promise<Quarantine> {
    const folder = path.join(storageFolder, 'quarantine');
    return new Quarantine(folder, await filesIn(folder), budgetBytes);
  }

  get usedBytes(): number {
    return this.#held.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** Moves a blob's file here, out of everybody's sight; readers that have it open go on. */
  async take(digest: Digest, file: string): Promise<void> {
    const { size, isPlain } = await sizeOf(file);
    if (!isPlain || size > this.#maxBytes) {
      await fs.promises.rm(file, { force: true });
      return;
    }
    const name = `${algorithmOf(digest)}-${encodedOf(digest)}-${Date.now()}`;
    const target = path.join(this.#folder, name);
    await fs.promises.mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await fs.promises.rename(file, target);
    this.#held.push({ file: target, sizeBytes: size });
    while (this.usedBytes > this.#maxBytes) {
      const oldest = this.#held.shift();
      if (oldest === undefined) return;
      await fs.promises.rm(oldest.file, { force: true });
    }
  }
}

/** The oldest first. */
async function filesIn(folder: string): Promise<Held[]> {
  const names = await fs.promises.readdir(folder).catch((): string[] => []);
  const found: (Held & { readonly changedMs: number })[] = [];
  for (const name of names) {
    const file = path.join(folder, name);
    const stat = await fs.promises.lstat(file).catch(() => undefined);
    if (stat?.isFile() !== true) continue;
    found.push({ file, sizeBytes: stat.size, changedMs: stat.ctimeMs });
  }
  return found.sort((a, b) => a.changedMs - b.changedMs);
}

async function sizeOf(file: string): Promise<{ size: number; isPlain: boolean }> {
  const stat = await fs.promises.lstat(file);
  return { size: stat.size, isPlain: stat.isFile() };
}

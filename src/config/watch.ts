import { createHash } from 'node:crypto';
import { watch, type FSWatcher } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Editors and Kubernetes change a file in several steps. */
const settleMs = 250;

/** For file systems without notifications, and links that lead to other folders. */
const pollMs = 60_000;

/**
 * Tells of files whose content has changed. Their folders are watched, since a watched file is lost at
 * the first rename; and only the content counts, since Kubernetes replaces a mounted file by swapping a
 * link beside it, and others touch files without changing them.
 */
export class FileWatch {
  readonly #changed: () => void;
  readonly #folders = new Map<string, FSWatcher | undefined>();
  readonly #contents = new Map<string, string>();
  #settling: NodeJS.Timeout | undefined;
  #polling: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isClosed = false;

  /** @param changed called after the content of some of the files has changed */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** From now on these; what new ones hold now is what later content is compared with. */
  async watch(files: readonly string[]): Promise<void> {
    if (this.#isClosed) return;
    const wanted = new Set(files.map((file) => dirname(file)));
    for (const [folder, watcher] of this.#folders) {
      if (wanted.has(folder)) continue;
      watcher?.close();
      this.#folders.delete(folder);
    }
    for (const folder of wanted) {
      if (!this.#folders.has(folder)) this.#folders.set(folder, this.#open(folder));
    }
    this.#polling ??= setInterval(() => this.#look(), pollMs).unref();
    for (const file of this.#contents.keys()) {
      if (!files.includes(file)) this.#contents.delete(file);
    }
    const unknown = files.filter((file) => !this.#contents.has(file));
    for (const [file, content] of await contentsOf(unknown)) this.#contents.set(file, content);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#settling);
    clearInterval(this.#polling);
    for (const watcher of this.#folders.values()) watcher?.close();
    this.#folders.clear();
    await this.#looking;
  }

  /** A folder that cannot be watched is looked at by the minute. */
  #open(folder: string): FSWatcher | undefined {
    try {
      const watcher = watch(folder, { persistent: false }, () => {
        this.#settling ??= setTimeout(() => {
          this.#settling = undefined;
          this.#look();
        }, settleMs);
      });
      watcher.on('error', () => watcher.close());
      return watcher;
    } catch {
      return undefined;
    }
  }

  #look(): void {
    this.#looking = this.#looking.then(async () => {
      const changed = (await contentsOf([...this.#contents.keys()]))
        .entries()
        .filter(([file, content]) => this.#contents.get(file) !== content)
        .toArray();
      for (const [file, content] of changed) this.#contents.set(file, content);
      if (changed.length > 0 && !this.#isClosed) this.#changed();
    });
  }
}

async function contentsOf(files: readonly string[]): Promise<Map<string, string>> {
  const hashes = files.map(async (file): Promise<[string, string]> => {
    const bytes = await readFile(file).catch(() => undefined);
    const hash = bytes === undefined ? '' : createHash('sha256').update(bytes).digest('hex');
    return [file, hash];
  });
  return new Map(await Promise.all(hashes));
}

import { unlink } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';

/** Undefined: it is gone. */
export type UnlinkResult = NodeJS.ErrnoException | undefined;

/** What the thread answers: each failure, by position. */
export type UnlinkReply = readonly { readonly at: number; readonly code: string }[];

/** So few go through Node's own threads: no thread more for them, but two switches of thread each. */
const fewPaths = 8;

/** The thread ends when there was nothing to unlink for so long. */
const idleMs = 5_000;

/** The thread never holds more than a list of paths; a usual heap would take 16 MiB. */
const youngMib = 1;

interface Pending {
  readonly paths: readonly string[];
  readonly resolve: (results: UnlinkResult[]) => void;
}

let thread: UnlinkThread | undefined;

/**
 * Unlinks each path, whatever becomes of the others; answers what each met. Many go in one piece on a
 * thread of their own: ext4 needs 5 µs for a small file, a call through Node's threads another 25.
 */
export async function unlinkAll(paths: readonly string[]): Promise<readonly UnlinkResult[]> {
  if (paths.length > fewPaths) {
    thread ??= new UnlinkThread();
    return thread.unlinkAll(paths);
  }
  const results: UnlinkResult[] = [];
  for (const path of paths) results.push(await unlinkOne(path));
  return results;
}

async function unlinkOne(path: string): Promise<UnlinkResult> {
  try {
    await unlink(path);
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

class UnlinkThread {
  readonly #worker: Worker;
  /** In the order in which the thread answers. */
  readonly #pending: Pending[] = [];
  readonly #idle: NodeJS.Timeout;

  constructor() {
    // The published package is compiled; a checkout runs from source.
    const file = import.meta.url.endsWith('.ts') ? './unlink-worker.ts' : './unlink-worker.js';
    this.#worker = new Worker(new URL(file, import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: youngMib },
    });
    this.#worker.on('message', (reply: UnlinkReply) => this.#answer(reply));
    this.#worker.on('error', (error: Error) => this.#end(error));
    this.#worker.on('exit', () => this.#end(new Error('the thread that unlinks has ended')));
    this.#idle = setTimeout(() => this.#rest(), idleMs).unref();
  }

  unlinkAll(paths: readonly string[]): Promise<UnlinkResult[]> {
    const { promise, resolve } = Promise.withResolvers<UnlinkResult[]>();
    this.#pending.push({ paths, resolve });
    this.#worker.ref();
    this.#worker.postMessage(paths);
    return promise;
  }

  #answer(reply: UnlinkReply): void {
    const { paths, resolve } = this.#pending.shift()!;
    const results: UnlinkResult[] = paths.map(() => undefined);
    for (const { at, code } of reply) {
      results[at] = Object.assign(new Error(`${code}: unlink '${paths[at]}'`), { code });
    }
    resolve(results);
    if (this.#pending.length > 0) return;
    this.#worker.unref();
    this.#idle.refresh();
  }

  #rest(): void {
    if (this.#pending.length > 0) return;
    thread = undefined;
    void this.#worker.terminate();
  }

  /** What was not answered may be there still. */
  #end(error: Error): void {
    if (thread === this) thread = undefined;
    clearTimeout(this.#idle);
    for (const { paths, resolve } of this.#pending.splice(0)) resolve(paths.map(() => error));
  }
}

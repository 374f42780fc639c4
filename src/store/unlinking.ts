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

/**
 * Unlinks many files in one piece, on a thread that runs while there are some: ext4 needs 5 µs for a
 * small file, a call through Node's threads another 25. It keeps no process from ending.
 */
export class Unlinking {
  /** In the order in which the thread answers. */
  readonly #pending: Pending[] = [];
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;

  /** Unlinks each path, whatever becomes of the others; answers what each met. */
  async unlinkAll(paths: readonly string[]): Promise<readonly UnlinkResult[]> {
    if (paths.length > fewPaths) return this.#inOnePiece(paths);
    const results: UnlinkResult[] = [];
    for (const path of paths) results.push(await unlinkOne(path));
    return results;
  }

  #inOnePiece(paths: readonly string[]): Promise<UnlinkResult[]> {
    const { promise, resolve } = Promise.withResolvers<UnlinkResult[]>();
    clearTimeout(this.#idle);
    this.#worker ??= this.#start();
    this.#pending.push({ paths, resolve });
    this.#worker.ref();
    this.#worker.postMessage(paths);
    return promise;
  }

  #start(): Worker {
    // The published package is compiled; a checkout runs from source.
    const file = import.meta.url.endsWith('.ts') ? './unlink-worker.ts' : './unlink-worker.js';
    const worker = new Worker(new URL(file, import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: youngMib },
    });
    worker.on('message', (reply: UnlinkReply) => this.#answer(reply));
    worker.on('error', (error: Error) => this.#lost(worker, error));
    worker.on('exit', () => this.#lost(worker, new Error('the thread that unlinks has ended')));
    return worker;
  }

  #answer(reply: UnlinkReply): void {
    const { paths, resolve } = this.#pending.shift()!;
    const results: UnlinkResult[] = paths.map(() => undefined);
    for (const { at, code } of reply) {
      results[at] = Object.assign(new Error(`${code}: unlink '${paths[at]}'`), { code });
    }
    resolve(results);
    if (this.#pending.length > 0) return;
    this.#worker?.unref();
    this.#idle = setTimeout(() => {
      void this.#worker?.terminate();
      this.#worker = undefined;
    }, idleMs).unref();
  }

  /** What was not answered may be there still. */
  #lost(worker: Worker, error: Error): void {
    // One that was told to end has been replaced already, or has nobody waiting.
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    for (const { paths, resolve } of this.#pending.splice(0)) resolve(paths.map(() => error));
  }
}

async function unlinkOne(path: string): Promise<UnlinkResult> {
  try {
    await unlink(path);
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

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
  readonly reject: (error: Error) => void;
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
    if (paths.length <= fewPaths) return oneByOne(paths);
    try {
      return await this.#inOnePiece(paths);
    } catch {
      // A thread takes descriptors and memory; where there are none, some space is the more needed.
      return oneByOne(paths);
    }
  }

  /** Rejects when the thread does not answer: some of them may be gone then. */
  async #inOnePiece(paths: readonly string[]): Promise<UnlinkResult[]> {
    clearTimeout(this.#idle);
    this.#worker ??= this.#start();
    const { promise, resolve, reject } = Promise.withResolvers<UnlinkResult[]>();
    this.#pending.push({ paths, resolve, reject });
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

  #lost(worker: Worker, error: Error): void {
    // One that was told to end has been replaced already, or has nobody waiting.
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }
}

async function oneByOne(paths: readonly string[]): Promise<UnlinkResult[]> {
  const results: UnlinkResult[] = [];
  for (const path of paths) {
    const error: unknown = await unlink(path).catch((cause: unknown) => cause);
    results.push(error as UnlinkResult);
  }
  return results;
}

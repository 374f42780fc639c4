import os from 'node:os';
import { Worker } from 'node:worker_threads';
import type { DigestAlgorithm } from '../oci/digest.ts';

export type HashRequest =
  | {
      readonly do: 'update';
      readonly id: number;
      readonly algorithm: DigestAlgorithm;
      readonly fd: number;
      readonly from: number;
      readonly to: number;
    }
  | { readonly do: 'digest' | 'cancel'; readonly id: number };

export interface HashReply {
  readonly id: number;
  readonly hex?: string;
  readonly crcs?: Uint32Array;
  readonly error?: string;
}

/** What a file holds: its digest in lower-case hexadecimal, and the CRC-32 of each of its chunks. */
export interface Hashed {
  readonly hex: string;
  readonly crcs: Uint32Array;
}

/**
 * The hash of one growing file, computed on another thread in the order of the `update` calls. The
 * descriptor must stay open until `digest` or `cancel` has answered.
 */
export interface HashRun {
  /** Hashes bytes `from` to `to` of the file; the ranges of one run follow each other. */
  update(from: number, to: number): void;
  /** Rejects when a read failed. Ends the run. */
  digest(): Promise<Hashed>;
  /** Ends the run; resolves when the thread no longer touches the file. */
  cancel(): Promise<void>;
}

/** What is hashed between two calls of `pace`. */
const paceBytes = 4 * 1024 * 1024;

/** Hashes a whole file, as fast as `pace` lets it; it is told how many bytes are read next. */
export async function hashFile(
  run: HashRun,
  { sizeBytes, pace }: { sizeBytes: number; pace: (sizeBytes: number) => Promise<void> },
): Promise<Hashed> {
  try {
    for (let at = 0; at < sizeBytes; at += paceBytes) {
      const to = Math.min(sizeBytes, at + paceBytes);
      await pace(to - at);
      run.update(at, to);
    }
    if (sizeBytes === 0) run.update(0, 0);
  } catch (error) {
    await run.cancel();
    throw error;
  }
  return run.digest();
}

interface Pending {
  readonly resolve: (reply: HashReply) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly pending: Map<number, Pending>;
  runs: number;
  /** Why it answers nobody any more. */
  failure?: Error;
}

/**
 * Threads for hashing. SHA-256 runs at 1.75–2 GB/s a core, so half of the cores carry any upstream
 * link; threads start when first needed.
 */
export class Hashing {
  readonly #threads: Thread[] = [];
  readonly #threadsMax: number;
  #lastId = 0;

  constructor(threadsMax: number = Math.max(1, Math.min(4, os.availableParallelism() >> 1))) {
    this.#threadsMax = threadsMax;
  }

  start(algorithm: DigestAlgorithm, fd: number): HashRun {
    const thread = this.#leastBusy();
    const id = ++this.#lastId;
    thread.runs += 1;
    const send = (request: HashRequest): void => thread.worker.postMessage(request);
    const end = async (what: 'digest' | 'cancel'): Promise<HashReply> => {
      if (thread.failure !== undefined) throw thread.failure;
      const { promise, resolve, reject } = Promise.withResolvers<HashReply>();
      thread.pending.set(id, { resolve, reject });
      thread.worker.ref();
      send({ do: what, id });
      try {
        return await promise;
      } finally {
        thread.pending.delete(id);
        thread.runs -= 1;
        if (thread.pending.size === 0) thread.worker.unref();
      }
    };
    return {
      update: (from, to) => send({ do: 'update', id, algorithm, fd, from, to }),
      digest: async () => {
        const { hex, crcs, error } = await end('digest');
        if (hex === undefined || crcs === undefined) throw new Error(error);
        return { hex, crcs };
      },
      cancel: async () => {
        await end('cancel');
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map(({ worker }) => worker.terminate()));
  }

  #leastBusy(): Thread {
    const idle = this.#threads.find(({ runs }) => runs === 0);
    if (idle !== undefined) return idle;
    if (this.#threads.length < this.#threadsMax) return this.#startThread();
    return this.#threads.reduce((least, thread) => (thread.runs < least.runs ? thread : least));
  }

  #startThread(): Thread {
    // The published package is compiled; a checkout runs from source.
    const file = import.meta.url.endsWith('.ts') ? './hash-worker.ts' : './hash-worker.js';
    const worker = new Worker(new URL(file, import.meta.url));
    const thread: Thread = { worker, pending: new Map(), runs: 0 };
    worker.on('message', (reply: HashReply) => thread.pending.get(reply.id)?.resolve(reply));
    const lost = (error: Error): void => {
      const at = this.#threads.indexOf(thread);
      if (at >= 0) this.#threads.splice(at, 1);
      thread.failure ??= error;
      for (const { reject } of thread.pending.values()) reject(error);
    };
    worker.on('error', lost);
    worker.on('exit', () => lost(new Error('the hashing thread ended')));
    worker.unref();
    this.#threads.push(thread);
    return thread;
  }
}

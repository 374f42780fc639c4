import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Resident } from '../eviction/eviction.ts';

/** What the thread throws away is small; a larger young generation only keeps memory. */
const youngMib = 4;

/** Blobs that are given out at once; then others have their turn. */
const sliceSize = 1_000;

export interface ScanOrder {
  readonly blobsFolder: string;
  readonly recencyFile: string;
}

/** What else lies in the folder of blobs. */
export interface Foreign {
  /** Files and links. */
  readonly foreignFiles: number;
  /** The first few of them, relative to the folder. */
  readonly foreign: readonly string[];
}

/** The last one has the order of all, by position. */
export type ScanReply =
  | { readonly blobs: readonly Resident[]; readonly order?: undefined }
  | (Foreign & { readonly blobs: readonly Resident[]; readonly order: Uint32Array });

/**
 * Gives all blobs of a folder to `take`, what was used longest ago first. Another thread counts them;
 * what vanishes meanwhile may still be among them.
 * @throws Error when the thread fails, or the signal's reason
 */
export async function scanBlobs(
  order: ScanOrder,
  signal: AbortSignal,
  take: (resident: Resident) => void,
): Promise<Foreign> {
  // The published package is compiled; a checkout runs from source.
  const file = import.meta.url.endsWith('.ts') ? './scan-worker.ts' : './scan-worker.js';
  const worker = new Worker(new URL(file, import.meta.url), {
    workerData: order,
    resourceLimits: { maxYoungGenerationSizeMb: youngMib },
  });
  const found: Resident[] = [];
  let last: ScanReply;
  try {
    do {
      worker.postMessage('next');
      [last] = (await once(worker, 'message', { signal })) as [ScanReply];
      found.push(...last.blobs);
    } while (last.order === undefined);
  } finally {
    await worker.terminate();
  }
  for (let from = 0; from < found.length; from += sliceSize) {
    for (const at of last.order.subarray(from, from + sliceSize)) take(found[at]!);
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
  return { foreignFiles: last.foreignFiles, foreign: last.foreign };
}

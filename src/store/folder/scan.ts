import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Resident } from '../eviction/eviction.ts';

export interface ScanOrder {
  readonly blobsFolder: string;
  readonly recencyFile: string;
}

export interface ScanBatch {
  readonly blobs: readonly Resident[];
  readonly isLast: boolean;
  /** Files and links below the folder that are no blobs of ours. */
  readonly foreignFiles: number;
  /** The first few of them, relative to the folder. */
  readonly foreign: readonly string[];
}

/**
 * All blobs of a folder, what was used longest ago first, counted by another thread and given out in
 * batches between which others work. What vanishes meanwhile may still be in it.
 * @throws Error when the thread fails
 */
export async function* scanBlobs(
  order: ScanOrder,
  signal: AbortSignal,
): AsyncGenerator<ScanBatch, void> {
  // The published package is compiled; a checkout runs from source.
  const file = import.meta.url.endsWith('.ts') ? './scan-worker.ts' : './scan-worker.js';
  const worker = new Worker(new URL(file, import.meta.url), { workerData: order });
  try {
    for (;;) {
      worker.postMessage('next');
      const [batch] = (await once(worker, 'message', { signal })) as [ScanBatch];
      yield batch;
      if (batch.isLast) return;
    }
  } finally {
    await worker.terminate();
  }
}

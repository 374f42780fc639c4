import fs from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { Digest } from '../../oci/digest.ts';
import type { Resident } from '../eviction/eviction.ts';
import { digestOfPath, occupiedBytesOf } from './layout.ts';
import { openRecencyReader } from './recency.ts';
import type { ScanOrder, ScanReply } from './scan.ts';

/**
 * The thread that counts the disk: a million files are a million system calls. Calls block here on
 * purpose. It answers each `next` with a batch of what it finds, and the last one with the order of use,
 * for which it keeps eight bytes a blob.
 */

const batchSize = 1_000;

const foreignNamedMax = 5;

const { blobsFolder, recencyFile } = workerData as ScanOrder;
const recency = openRecencyReader(recencyFile);
const usedMs: number[] = [];
const foreign: string[] = [];
let foreignFiles = 0;

function* walk(folder: string): Generator<Resident> {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      yield* walk(file);
      continue;
    }
    const digest = entry.isFile() ? digestOfPath(file) : undefined;
    if (digest === undefined) {
      foreignFiles += 1;
      if (foreign.length < foreignNamedMax) foreign.push(path.relative(blobsFolder, file));
      continue;
    }
    const resident = residentOf(file, digest);
    if (resident !== undefined) yield resident;
  }
}

/** Undefined for a file that has just gone. */
function residentOf(file: string, digest: Digest): Resident | undefined {
  const stat = fs.lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  return {
    digest,
    sizeBytes: stat.size,
    occupiedBytes: occupiedBytesOf(stat.size, stat.blocks * 512),
    usedMs: recency.usedMs(digest) ?? Math.max(stat.atimeMs, stat.mtimeMs),
  };
}

/** Positions in what was sent, what was used longest ago first. */
function orderOfUse(): Uint32Array {
  const used = Float64Array.from(usedMs);
  return new Uint32Array(used.length).map((_, at) => at).sort((a, b) => used[a]! - used[b]!);
}

function nextReply(): ScanReply {
  const blobs: Resident[] = [];
  // What was used again and again is written ahead of its time.
  const nowMs = Date.now();
  for (const resident of found) {
    usedMs.push(resident.usedMs);
    blobs.push({ ...resident, usedMs: Math.min(resident.usedMs, nowMs) });
    if (blobs.length === batchSize) return { blobs };
  }
  recency.close();
  return { blobs, order: orderOfUse(), foreignFiles, foreign };
}

const walked = walk(blobsFolder);
/** Goes on where it stopped, for all that a loop that leaves it would end a generator. */
const found: Iterable<Resident> = {
  [Symbol.iterator]: () => ({ next: () => walked.next() }),
};

parentPort?.on('message', () => parentPort?.postMessage(nextReply()));

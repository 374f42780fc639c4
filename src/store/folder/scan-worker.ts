import fs from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { findDigest, type Digest } from '../../oci/digest.ts';
import { digestOfPath, occupiedBytesOf } from './layout.ts';
import { openRecencyReader } from './recency.ts';
import type { ScanBatch, ScanOrder } from './scan.ts';

/**
 * The thread that counts the disk: a million files are a million system calls. Calls block here on
 * purpose. It keeps some 90 bytes a blob, and answers each `next` with a batch.
 */

/** A raw digest has 32 or 64 bytes. */
const keyBytesMax = 64;

const batchSize = 2_000;

const foreignNamedMax = 5;

class Found {
  count = 0;
  #keys = Buffer.alloc(keyBytesMax * 1024);
  #numbers = new Float64Array(4 * 1024);

  add(digest: Digest, sizeBytes: number, occupiedBytes: number, usedMs: number): void {
    const at = this.count;
    if (at * 4 === this.#numbers.length) this.#double();
    const hex = digest.slice(7);
    this.#keys.write(hex, at * keyBytesMax, 'hex');
    this.#numbers.set([hex.length, sizeBytes, occupiedBytes, usedMs], at * 4);
    this.count += 1;
  }

  /** Positions, what was used longest ago first. */
  byUse(): Uint32Array {
    const order = new Uint32Array(this.count).map((_, at) => at);
    const numbers = this.#numbers;
    return order.sort((a, b) => numbers[a * 4 + 3]! - numbers[b * 4 + 3]!);
  }

  batch(order: Uint32Array): ScanBatch['blobs'] {
    return Array.from(order, (at) => {
      const [hexLength = 0, sizeBytes = 0, occupiedBytes = 0, usedMs = 0] = this.#numbers.subarray(
        at * 4,
        at * 4 + 4,
      );
      const start = at * keyBytesMax;
      const hex = this.#keys.toString('hex', start, start + hexLength / 2);
      const digest = findDigest(`${hexLength === 64 ? 'sha256' : 'sha512'}:${hex}`);
      if (digest === undefined) throw new Error(`${hex} was a digest before`);
      // What was used again and again is written ahead of its time.
      return { digest, sizeBytes, occupiedBytes, usedMs: Math.min(usedMs, Date.now()) };
    });
  }

  #double(): void {
    const keys = Buffer.alloc(this.#keys.length * 2);
    keys.set(this.#keys);
    this.#keys = keys;
    const numbers = new Float64Array(this.#numbers.length * 2);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
  }
}

const { blobsFolder, recencyFile } = workerData as ScanOrder;
const recency = openRecencyReader(recencyFile);
const found = new Found();
const foreign: string[] = [];
let foreignFiles = 0;

function walk(folder: string): void {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      walk(file);
      continue;
    }
    const digest = entry.isFile() ? digestOfPath(file) : undefined;
    if (digest === undefined) {
      foreignFiles += 1;
      if (foreign.length < foreignNamedMax) foreign.push(path.relative(blobsFolder, file));
      continue;
    }
    const stat = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const occupiedBytes = occupiedBytesOf(stat.size, stat.blocks * 512);
    const usedMs = recency.usedMs(digest) ?? Math.max(stat.atimeMs, stat.mtimeMs);
    found.add(digest, stat.size, occupiedBytes, usedMs);
  }
}

walk(blobsFolder);
recency.close();
const order = found.byUse();
let next = 0;

parentPort?.on('message', () => {
  const blobs = found.batch(order.subarray(next, next + batchSize));
  next += blobs.length;
  const isLast = next >= order.length;
  parentPort?.postMessage({ blobs, isLast, foreignFiles, foreign } satisfies ScanBatch);
  if (isLast) parentPort?.close();
});

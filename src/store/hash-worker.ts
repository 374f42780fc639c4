import { createHash, type Hash } from 'node:crypto';
import fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { chunkBytes } from './chunk-cache.ts';
import type { HashReply, HashRequest } from './hashing.ts';

/**
 * The thread that hashes. It shares the descriptors of the process, so it is told which part of which
 * file to read and no bytes cross between threads. Reads block here on purpose: nobody else lives on
 * this thread.
 */

const buffer = Buffer.allocUnsafeSlow(1024 * 1024);

/** Of one file: its digest as far as it is read, and the CRC-32 of each chunk that is whole. */
interface Running {
  readonly hash: Hash;
  readonly crcs: number[];
  /** Of the chunk that is not whole yet. */
  crc: number;
  /** How far it is. */
  to: number;
}

const runs = new Map<number, Running | Error>();

function update(run: Running, fd: number, from: number, to: number): void {
  for (let position = from; position < to;) {
    const want = Math.min(buffer.length, to - position);
    const count = fs.readSync(fd, buffer, 0, want, position);
    if (count === 0) throw new Error(`the file ends at byte ${position}, before byte ${to}`);
    const bytes = count === buffer.length ? buffer : buffer.subarray(0, count);
    run.hash.update(bytes);
    addChecksums(run, bytes, position);
    position += count;
  }
}

/** The same bytes once more, while they are in the processor's cache: 6 GB/s. */
function addChecksums(run: Running, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length;) {
    const at = position + done;
    const count = Math.min(bytes.length - done, chunkBytes - (at % chunkBytes));
    run.crc = crc32(bytes.subarray(done, done + count), run.crc);
    done += count;
    if ((at + count) % chunkBytes !== 0) continue;
    run.crcs.push(run.crc);
    run.crc = 0;
  }
}

function resultOf(id: number, { hash, crcs, crc, to }: Running): HashReply {
  const all = to % chunkBytes === 0 ? crcs : [...crcs, crc];
  return { id, hex: hash.digest('hex'), crcs: Uint32Array.from(all) };
}

function answer(request: HashRequest): HashReply | undefined {
  const { id } = request;
  switch (request.do) {
    case 'update': {
      const run = runs.get(id) ?? { hash: createHash(request.algorithm), crcs: [], crc: 0, to: 0 };
      if (run instanceof Error) return undefined;
      runs.set(id, run);
      try {
        update(run, request.fd, request.from, request.to);
        run.to = request.to;
      } catch (error) {
        runs.set(id, error instanceof Error ? error : new Error(String(error)));
      }
      return undefined;
    }
    case 'digest': {
      const run = runs.get(id);
      runs.delete(id);
      if (run === undefined) return { id, error: 'nothing was hashed' };
      return run instanceof Error ? { id, error: run.message } : resultOf(id, run);
    }
    case 'cancel':
      runs.delete(id);
      return { id };
  }
}

parentPort?.on('message', (request: HashRequest) => {
  const reply = answer(request);
  if (reply !== undefined) parentPort?.postMessage(reply);
});

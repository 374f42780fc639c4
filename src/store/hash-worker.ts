import { createHash, type Hash } from 'node:crypto';
import fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { HashReply, HashRequest } from './hashing.ts';

/**
 * The thread that hashes. It shares the descriptors of the process, so it is told which part of which
 * file to read and no bytes cross between threads. Reads block here on purpose: nobody else lives on
 * this thread.
 */

const buffer = Buffer.allocUnsafeSlow(1024 * 1024);
const hashes = new Map<number, Hash | Error>();

function update(hash: Hash, fd: number, from: number, to: number): void {
  for (let position = from; position < to;) {
    const want = Math.min(buffer.length, to - position);
    const count = fs.readSync(fd, buffer, 0, want, position);
    if (count === 0) throw new Error(`the file ends at byte ${position}, before byte ${to}`);
    hash.update(count === buffer.length ? buffer : buffer.subarray(0, count));
    position += count;
  }
}

function answer(request: HashRequest): HashReply | undefined {
  const { id } = request;
  switch (request.do) {
    case 'update': {
      const hash = hashes.get(id) ?? createHash(request.algorithm);
      if (hash instanceof Error) return undefined;
      hashes.set(id, hash);
      try {
        update(hash, request.fd, request.from, request.to);
      } catch (error) {
        hashes.set(id, error instanceof Error ? error : new Error(String(error)));
      }
      return undefined;
    }
    case 'digest': {
      const hash = hashes.get(id);
      hashes.delete(id);
      if (hash === undefined) return { id, error: 'nothing was hashed' };
      return hash instanceof Error ? { id, error: hash.message } : { id, hex: hash.digest('hex') };
    }
    case 'cancel':
      hashes.delete(id);
      return { id };
  }
}

parentPort?.on('message', (request: HashRequest) => {
  const reply = answer(request);
  if (reply !== undefined) parentPort?.postMessage(reply);
});

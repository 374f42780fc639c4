import { LRUCache } from 'lru-cache';
import type { Digest } from '../../oci/digest.ts';
import type { Eviction, Resident } from './eviction.ts';

/** The share of all bytes that new content may take before it has to prove itself. */
const probationShare = 0.1;

/** Uses that are counted: two bits. */
const usesMax = 3;

/** Digests of what went from probation that are remembered, at most; each some 150 bytes. */
const ghostsMax = 200_000;

/**
 * S3-FIFO (Yang et al., SOSP 2023): most content is asked for once, so the new waits in a short queue,
 * and only what is used again there, or comes back soon after it went, gets into the long one.
 *
 *   new ──▶ probation ──used──▶ main ──used──▶ main, once more
 *               │                 └──not used──▶ goes
 *               └──not used──▶ goes, is a ghost ──comes back──▶ main
 */
export class S3FifoEviction implements Eviction {
  readonly #queued = new Map<Digest, Queued>();
  readonly #probation = new Queue();
  readonly #main = new Queue();
  readonly #ghosts = new LRUCache<Digest, true>({ max: ghostsMax });

  get usedBytes(): number {
    return this.#probation.bytes + this.#main.bytes;
  }

  get count(): number {
    return this.#queued.size;
  }

  admit(resident: Resident): void {
    if (this.touch(resident.digest, resident.usedMs) !== undefined) return;
    const queued = { resident, uses: 0 };
    this.#queued.set(resident.digest, queued);
    (this.#ghosts.delete(resident.digest) ? this.#main : this.#probation).push(queued);
  }

  find(digest: Digest): Resident | undefined {
    return this.#queued.get(digest)?.resident;
  }

  touch(digest: Digest, wallMs: number): Resident | undefined {
    const queued = this.#queued.get(digest);
    if (queued === undefined) return undefined;
    queued.uses = Math.min(usesMax, queued.uses + 1);
    queued.resident.usedMs = wallMs;
    return queued.resident;
  }

  forget(digest: Digest): Resident | undefined {
    const queued = this.#queued.get(digest);
    if (queued === undefined) return undefined;
    this.#queued.delete(digest);
    queued.queue?.remove(queued);
    return queued.resident;
  }

  victims(needBytes: number, mustStay: (digest: Digest) => boolean): Resident[] {
    const chosen: Resident[] = [];
    const left = { probation: this.#probation.bytes, main: this.#main.bytes };
    const probation = this.#fromProbation(mustStay);
    const main = this.#fromMain(mustStay);
    for (let freed = 0; freed < needBytes;) {
      const isProbationFull = left.probation > probationShare * (left.probation + left.main);
      const [first, second] = isProbationFull ? [probation, main] : [main, probation];
      const next = first.next().value ?? second.next().value;
      if (next === undefined) break;
      chosen.push(next.resident);
      freed += next.resident.occupiedBytes;
      left[next.queue === this.#main ? 'main' : 'probation'] -= next.resident.occupiedBytes;
    }
    return chosen;
  }

  /** What goes from probation; what was used there moves on to the main queue. */
  *#fromProbation(mustStay: (digest: Digest) => boolean): Generator<Queued, undefined> {
    for (let at = this.#probation.oldest; at !== undefined;) {
      const { newer } = at;
      const { digest } = at.resident;
      if (at.uses > 0) {
        at.uses = 0;
        this.#probation.remove(at);
        this.#main.push(at);
      } else if (!mustStay(digest)) {
        this.#ghosts.set(digest, true);
        yield at;
      }
      at = newer;
    }
  }

  /** What goes from the main queue; what was used since the last look goes round again. */
  *#fromMain(mustStay: (digest: Digest) => boolean): Generator<Queued, undefined> {
    for (let at = this.#main.oldest; at !== undefined;) {
      const isLast = at.newer === undefined;
      const next: Queued | undefined = at.newer;
      if (at.uses > 0) {
        at.uses -= 1;
        this.#main.remove(at);
        this.#main.push(at);
        at = isLast ? at : next;
      } else {
        if (!mustStay(at.resident.digest)) yield at;
        at = next ?? at.newer;
      }
    }
  }
}

interface Queued {
  readonly resident: Resident;
  /** Uses since it was queued or looked at. */
  uses: number;
  queue?: Queue;
  older?: Queued | undefined;
  newer?: Queued | undefined;
}

/** First in, first out; anything can be taken from its middle. */
class Queue {
  oldest: Queued | undefined;
  bytes = 0;
  #newest: Queued | undefined;

  push(queued: Queued): void {
    queued.queue = this;
    queued.older = this.#newest;
    queued.newer = undefined;
    if (this.#newest === undefined) this.oldest = queued;
    else this.#newest.newer = queued;
    this.#newest = queued;
    this.bytes += queued.resident.occupiedBytes;
  }

  remove(queued: Queued): void {
    if (queued.older === undefined) this.oldest = queued.newer;
    else queued.older.newer = queued.newer;
    if (queued.newer === undefined) this.#newest = queued.older;
    else queued.newer.older = queued.older;
    this.bytes -= queued.resident.occupiedBytes;
  }
}

import { createHash } from 'node:crypto';

/** Numbers from a seed: the same ones in every run. */
export class SeededRandom {
  readonly #seed: string;
  #count = 0;

  constructor(seed: string) {
    this.#seed = seed;
  }

  /** From 0 up to, without, 1. */
  next(): number {
    this.#count += 1;
    const hash = createHash('sha256').update(`${this.#seed} ${this.#count}`).digest();
    return hash.readUInt32BE(0) / 2 ** 32;
  }

  /** A whole number from 0 up to, without, `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<Value>(values: readonly Value[]): Value {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error('there is nothing to pick from');
    return value;
  }
}

import type { Resident } from './eviction/eviction.ts';

/** What goes at once: on a thread of its own, but whoever needs the space waits for all of it. */
const batchSize = 64;
const batchBytes = 64 * 1024 * 1024;

/**
 * Victims on their way off the disk, beside what clients wait for: in order, and one batch at a time.
 * Its length is bounded by what is stored.
 */
export class Removals {
  readonly #remove: (residents: readonly Resident[]) => Promise<void>;
  readonly #queue: Resident[] = [];
  #leavingBytes = 0;
  #removing: Promise<void> | undefined;

  /** @param remove takes files away; must not reject */
  constructor(remove: (residents: readonly Resident[]) => Promise<void>) {
    this.#remove = remove;
  }

  /** What is still on the disk of all that was added. */
  get leavingBytes(): number {
    return this.#leavingBytes;
  }

  add(residents: readonly Resident[]): void {
    for (const resident of residents) {
      this.#queue.push(resident);
      this.#leavingBytes += resident.occupiedBytes;
    }
    if (this.#removing === undefined) void this.#run();
  }

  /** Ends when the next ones are gone; at once when nothing is leaving. */
  async progress(): Promise<void> {
    await this.#removing;
  }

  /** Ends when nothing is leaving any more. */
  async idle(): Promise<void> {
    while (this.#removing !== undefined) await this.#removing;
  }

  async #run(): Promise<void> {
    for (let next = 0; next < this.#queue.length;) {
      const batch: Resident[] = [];
      let bytes = 0;
      while (next < this.#queue.length && batch.length < batchSize && bytes < batchBytes) {
        const resident = this.#queue[next]!;
        batch.push(resident);
        bytes += resident.occupiedBytes;
        next += 1;
      }
      this.#removing = this.#remove(batch).then(() => {
        this.#leavingBytes -= bytes;
      });
      await this.#removing;
    }
    this.#queue.length = 0;
    this.#removing = undefined;
  }
}

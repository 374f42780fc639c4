import type { Resident } from './eviction/eviction.ts';

/**
 * Victims on their way off the disk, beside what clients wait for: in order, and one at a time, so that
 * the file threads are there for hits. Its length is bounded by what is stored.
 */
export class Removals {
  readonly #remove: (resident: Resident) => Promise<void>;
  readonly #queue: Resident[] = [];
  #leavingBytes = 0;
  #removing: Promise<void> | undefined;

  /** @param remove takes one file away; must not reject */
  constructor(remove: (resident: Resident) => Promise<void>) {
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

  /** Ends when the next one is gone; at once when nothing is leaving. */
  async progress(): Promise<void> {
    await this.#removing;
  }

  /** Ends when nothing is leaving any more. */
  async idle(): Promise<void> {
    while (this.#removing !== undefined) await this.#removing;
  }

  async #run(): Promise<void> {
    for (const resident of this.#queue) {
      this.#removing = this.#remove(resident).then(() => {
        this.#leavingBytes -= resident.occupiedBytes;
      });
      await this.#removing;
    }
    this.#queue.length = 0;
    this.#removing = undefined;
  }
}

import type { Digest } from '../oci/digest.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';

/** A reference whose content stays, whatever the budget says. */
export interface Pin {
  readonly repository: Repository;
  /** The tag or digest that was named. */
  readonly reference: string;
  /** What it names. */
  readonly digest: Digest;
  /** The manifest, those below it, their configs and layers. */
  readonly keeps: readonly Digest[];
  /** Who wants it kept: `byPerson`, or the rules that select it. It goes when nobody is left. */
  readonly by: readonly string[];
  /** Wall clock. */
  readonly pinnedMs: number;
}

/** The holder of a pin that somebody has set by hand. */
export const byPerson = 'person';

/** Pins, all of them in memory: eviction asks of each candidate. People and rules set them, so they are few. */
export interface PinStore {
  find(repository: Repository, reference: string): Pin | undefined;
  /** In the order of repository and reference. */
  list(): Pin[];
  /** Replaces one of the same repository and reference. */
  put(pin: Pin): Promise<void>;
  /** Whether there was one. */
  remove(repository: Repository, reference: string): Promise<boolean>;
  /** Whether any pin keeps it; what two pins keep stays when one goes. */
  isPinned(digest: Digest): boolean;
}

/** What pins need of the database of names. */
export interface PinTable {
  put(entries: { key: string; value: unknown }[]): Promise<boolean>;
  remove(key: string): Promise<void>;
  scan<T>(prefix: string): AsyncIterable<[string, T]>;
}

const prefix = 'pin ';

export async function openPins(table: PinTable): Promise<PinStore> {
  const pins = new CountedPins(table);
  // Before there were rules, people had set them all.
  for await (const [key, pin] of table.scan<Omit<Pin, 'by'> & Partial<Pin>>(prefix)) {
    pins.count(key, { ...pin, by: pin.by ?? [byPerson] });
  }
  return pins;
}

class CountedPins implements PinStore {
  readonly #table: PinTable;
  readonly #pins = new Map<string, Pin>();
  /** How many pins keep it. */
  readonly #keepers = new Map<Digest, number>();

  constructor(table: PinTable) {
    this.#table = table;
  }

  count(key: string, pin: Pin): void {
    this.#discount(key);
    this.#pins.set(key, pin);
    for (const digest of pin.keeps) {
      this.#keepers.set(digest, (this.#keepers.get(digest) ?? 0) + 1);
    }
  }

  find(repository: Repository, reference: string): Pin | undefined {
    return this.#pins.get(keyOf(repository, reference));
  }

  list(): Pin[] {
    return [...this.#pins].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, pin]) => pin);
  }

  async put(pin: Pin): Promise<void> {
    const key = keyOf(pin.repository, pin.reference);
    this.count(key, pin);
    await this.#table.put([{ key: prefix + key, value: pin }]);
  }

  async remove(repository: Repository, reference: string): Promise<boolean> {
    const key = keyOf(repository, reference);
    const isThere = this.#discount(key);
    if (isThere) await this.#table.remove(prefix + key);
    return isThere;
  }

  isPinned(digest: Digest): boolean {
    return this.#keepers.has(digest);
  }

  #discount(key: string): boolean {
    const pin = this.#pins.get(key);
    if (pin === undefined) return false;
    this.#pins.delete(key);
    for (const digest of pin.keeps) {
      const rest = (this.#keepers.get(digest) ?? 0) - 1;
      if (rest > 0) this.#keepers.set(digest, rest);
      else this.#keepers.delete(digest);
    }
    return true;
  }
}

function keyOf(repository: Repository, reference: string): string {
  return `${repositoryKey(repository)} ${reference}`;
}

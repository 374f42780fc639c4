/** How long an unfinished fill waits for somebody to come back. */
const lingerMs = 5_000;

/** The clients of one fill, and what happens when the last of them has left. */
export class FillAudience {
  readonly #isWorthEnding: () => boolean;
  readonly #gone: () => void;
  #clients = 0;
  #linger: NodeJS.Timeout | undefined;

  /**
   * @param parts.isWorthEnding whether it goes on for nobody
   * @param parts.gone called when all have left, nobody came back, and it is not worth ending
   */
  constructor(parts: { readonly isWorthEnding: () => boolean; readonly gone: () => void }) {
    this.#isWorthEnding = parts.isWorthEnding;
    this.#gone = parts.gone;
  }

  get size(): number {
    return this.#clients;
  }

  join(): void {
    this.#clients += 1;
    this.close();
  }

  leave(): void {
    this.#clients -= 1;
    if (this.#clients > 0 || this.#isWorthEnding()) return;
    this.close();
    this.#linger = setTimeout(() => {
      if (this.#clients === 0 && !this.#isWorthEnding()) this.#gone();
    }, lingerMs);
    this.#linger.unref();
  }

  close(): void {
    clearTimeout(this.#linger);
    this.#linger = undefined;
  }
}

/**
 * Work that several wait for and that is done once: by key, from its start to its end. What happens
 * is decided inside the flight, so between two who ask together there is no gap to slip through.
 */
export class Flights<T> {
  readonly #flying = new Map<string, Promise<T>>();

  /** Joins the flight of that key, or starts one; all who joined get its result or its error. */
  share(
    key: string,
    start: () => Promise<T>,
  ): { readonly result: Promise<T>; readonly joined: boolean } {
    const flying = this.#flying.get(key);
    if (flying !== undefined) return { result: flying, joined: true };
    const result = start().finally(() => this.#flying.delete(key));
    this.#flying.set(key, result);
    return { result, joined: false };
  }
}

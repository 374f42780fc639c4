interface Flight<T> {
  readonly result: Promise<T>;
  readonly abort: AbortController;
  /** Who wants it; one who joined without a signal stays. */
  waiting: number;
}

/**
 * Work that several wait for and that is done once: by key, from its start to its end. What happens
 * is decided inside the flight, so between two who ask together there is no gap to slip through.
 */
export class Flights<T> {
  readonly #flying = new Map<string, Flight<T>>();

  /**
   * Joins the flight of that key, or starts one; all who joined get its result or its error.
   * @param start is given a signal that ends it when the last who wanted it has left
   * @param signal with which this one leaves
   */
  share(
    key: string,
    start: (signal: AbortSignal) => Promise<T>,
    signal?: AbortSignal,
  ): { readonly result: Promise<T>; readonly joined: boolean } {
    const flying = this.#flying.get(key);
    const flight = flying ?? this.#start(key, start);
    flight.waiting += 1;
    const leave = (): void => {
      flight.waiting -= 1;
      if (flight.waiting > 0) return;
      // Who comes now starts another one.
      this.#landed(key, flight);
      flight.abort.abort(signal?.reason);
    };
    signal?.addEventListener('abort', leave, { once: true });
    return { result: flight.result, joined: flying !== undefined };
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const abort = new AbortController();
    const result = start(abort.signal).finally(() => this.#landed(key, flight));
    const flight: Flight<T> = { result, abort, waiting: 0 };
    this.#flying.set(key, flight);
    return flight;
  }

  #landed(key: string, flight: Flight<T>): void {
    if (this.#flying.get(key) === flight) this.#flying.delete(key);
  }
}

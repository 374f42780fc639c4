/**
 * Time, as a part that tests can replace. Every interval is measured on the monotonic scale, so a
 * jump of the wall clock expires nothing; the wall clock is for display and for what outlives the
 * process.
 */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  monotonicMs(): number;
  /** Milliseconds since 1970; may jump. */
  wallMs(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};

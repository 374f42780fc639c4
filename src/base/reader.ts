/** Bytes lent to a reader; valid until `release`, which must be called exactly once. */
export interface Lease {
  readonly bytes: Uint8Array;
  /** From the shared memory; false: it costs this reader memory of its own, so one at a time. */
  readonly isShared: boolean;
  release(): void;
}

/** A position in some content. Whoever opens one closes it, at its end too. */
export interface Reader {
  /**
   * The next bytes, in order; undefined at the end of the range. One call at a time.
   * @throws MirrorError CONTENT_CORRUPT, DISK_FAILED, UPSTREAM_UNAVAILABLE, …: nothing more will come
   */
  next(): Promise<Lease | undefined>;
  close(): void;
}

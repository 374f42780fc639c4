/** How far a long task is. Totals grow while it finds out what there is to do. Bytes are bytes. */
export interface Progress {
  readonly imagesDone: number;
  readonly imagesTotal: number;
  readonly blobsDone: number;
  readonly blobsTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** What of it crossed the link to an upstream. */
  readonly bytesFetched: number;
}

/**
 * What a long task (a prewarm, a sync, a scrub, an import) reports to and is stopped by. The scheduler's
 * run is one; a test's is another. The task owns none of its own timers or state beyond this.
 */
export interface Work {
  /** Aborted by cancel and at shutdown: stop at the next object, leave nothing half done. */
  readonly signal: AbortSignal;
  /** Say what would be done, and do none of it. */
  readonly isDryRun: boolean;
  /** One line for the person who reads the run's log. */
  log(line: string): void;
  /** Adds to the counters; a negative number corrects an estimate. */
  advance(by: Partial<Progress>): void;
  /** One object (an image, a blob) failed for good; the task goes on with the others. */
  fail(object: string, error: unknown): void;
  /** The task stands still until `until` settles, and says why: a quota, a window, an upstream that is down. */
  wait<T>(reason: string, until: Promise<T>): Promise<T>;
}

import type { Progress, Work } from './work.ts';

/** Lines and failures kept of one task; the rest is counted. */
const keptMax = 10_000;

/** A task of one request: what it says is kept, and becomes the answer. */
export class CollectedWork implements Work {
  readonly signal: AbortSignal;
  readonly isDryRun: boolean;
  readonly lines: string[] = [];
  readonly failures: { readonly object: string; readonly message: string }[] = [];
  progress: Progress = {
    imagesDone: 0,
    imagesTotal: 0,
    blobsDone: 0,
    blobsTotal: 0,
    bytesDone: 0,
    bytesTotal: 0,
    bytesFetched: 0,
  };

  constructor(options: { readonly signal: AbortSignal; readonly isDryRun: boolean }) {
    this.signal = options.signal;
    this.isDryRun = options.isDryRun;
  }

  log(line: string): void {
    if (this.lines.length < keptMax) this.lines.push(line);
  }

  advance(by: Partial<Progress>): void {
    const sum: Record<string, number> = { ...this.progress };
    for (const [key, value] of Object.entries(by)) sum[key] = (sum[key] ?? 0) + value;
    this.progress = { ...this.progress, ...sum };
  }

  fail(object: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    if (this.failures.length < keptMax) this.failures.push({ object, message });
  }

  wait<T>(_reason: string, until: Promise<T>): Promise<T> {
    return until;
  }
}

import fs from 'node:fs';
import { promisify } from 'node:util';

/** Lines are collected and written in the background, this often or when there are enough of them. */
const flushMs = 250;
const flushChars = 4096;

/** At a time; a pipe has 64 KiB. */
const pieceChars = 64 * 1024;

/** What waits for a reader that does not read: some 14,000 lines of requests. What comes then is dropped. */
const waitingCharsMax = 4 * 1024 * 1024;

/** A pipe that is full is tried again after this long. */
const againMs = 100;

const writeFile = promisify(fs.write);

/**
 * Writes lines to a descriptor without waiting for it, so that nobody who logs is held up by whoever
 * reads. What cannot be written is dropped, counted and told of when there is room again.
 */
export class LineWriter {
  readonly #fd: number;
  readonly #maxChars: number;
  readonly #timer: NodeJS.Timeout;
  #lines: string[] = [];
  /** Of the lines that wait, and of the piece that is on its way. */
  #chars = 0;
  #dropped = 0;
  #running: Promise<void> | undefined;
  #isInCall = false;
  #isClosed = false;
  /** Told how many lines were dropped, once there is room for a line that says so. */
  onDropped: (lines: number) => void = () => {};

  constructor(fd: number, maxChars: number = waitingCharsMax) {
    this.#fd = fd;
    this.#maxChars = maxChars;
    this.#timer = setInterval(() => this.#flush(), flushMs);
  }

  /** @param line with its end */
  write(line: string): void {
    if (this.#isClosed || this.#chars + line.length > this.#maxChars) {
      this.#dropped += 1;
      return;
    }
    this.#lines.push(line);
    this.#chars += line.length;
    if (this.#chars >= flushChars) this.#flush();
  }

  /**
   * Writes what is left, for so long; then it is lost.
   * @returns false when a write has not come back: it holds a thread, and with it the end of the process
   */
  async close(deadlineMs: number): Promise<boolean> {
    clearInterval(this.#timer);
    this.#flush();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, deadlineMs);
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
    this.#isClosed = true;
    return !this.#isInCall;
  }

  #flush(): void {
    this.#running ??= this.#writeAll().finally(() => {
      this.#running = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    while (this.#lines.length > 0 && !this.#isClosed) {
      const piece = this.#takePiece();
      const wasTaken = await this.#writePiece(Buffer.from(piece.join('')));
      this.#chars -= charsOf(piece);
      if (!wasTaken) {
        this.#dropped += piece.length;
        return;
      }
      if (this.#dropped === 0) continue;
      const dropped = this.#dropped;
      this.#dropped = 0;
      this.onDropped(dropped);
    }
  }

  #takePiece(): string[] {
    let chars = 0;
    const end = this.#lines.findIndex((line) => (chars += line.length) >= pieceChars);
    return this.#lines.splice(0, end === -1 ? this.#lines.length : end + 1);
  }

  /** Whether it took all of it, however long that takes; not when it fails for good. */
  async #writePiece(piece: Buffer): Promise<boolean> {
    for (let done = 0; done < piece.length;) {
      try {
        done += await this.#call(piece, done);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || this.#isClosed) return false;
        await new Promise((resolve) => setTimeout(resolve, againMs).unref());
      }
    }
    return true;
  }

  /** How many bytes it took. */
  async #call(piece: Buffer, from: number): Promise<number> {
    this.#isInCall = true;
    try {
      return (await writeFile(this.#fd, piece, from)).bytesWritten;
    } finally {
      this.#isInCall = false;
    }
  }
}

function charsOf(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + line.length, 0);
}

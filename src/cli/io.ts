import type { ConfigSource } from '../config/load.ts';
import type { Config } from '../config/schema.ts';

/** What a command may touch of the world outside; only `main.ts` makes one of the real process. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /**
   * Runs the server until it is told to stop; gives the exit code.
   * @param source where the configuration was read, to be read again when it changes
   */
  serve(config: Config, source: ConfigSource): Promise<number>;
  /** Ends what watches and follows: Ctrl-C. Never, where it is left out. */
  readonly interrupted?: AbortSignal;
}

export interface Output {
  write(text: string): unknown;
  /** A person looks at it now. */
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** 0 done, 1 failed, 2 the command line itself was wrong. */
export const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

/** A command cannot be done, for a reason that its user can see to; the message is all they need. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure';
  readonly exitCode: number;

  /** @param exitCode `usage` when the command line itself is what is wrong */
  constructor(message: string, exitCode: number = exitCodes.failed) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** What was typed cannot be meant. */
export function usageFailure(message: string): CliFailure {
  return new CliFailure(message, exitCodes.usage);
}

/** Told the exit code of a command that did not throw. */
export type Finish = (exitCode: number) => void;

/** The width that output is made for: the terminal's, or wide enough for a pipe. */
export function widthOf({ columns, isTTY }: Output): number {
  return isTTY === true ? (columns ?? 80) : 200;
}

import type { Config } from '../config/schema.ts';

/** What a command may touch of the world outside; only `main.ts` makes one of the real process. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Runs the server until it is told to stop; gives the exit code. */
  serve(config: Config): Promise<number>;
}

export interface Output {
  write(text: string): unknown;
}

/** 0 done, 1 failed, 2 the command line itself was wrong. */
export const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

/** A command cannot be done, for a reason that its user can see to; the message is all they need. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure';
}

import { runCli } from '../../src/cli/program.ts';

export interface CommandResult {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** One command line in this process, as `entrepot` would run it. */
export function runCommand(
  env: Readonly<Record<string, string>>,
  ...argv: string[]
): Promise<CommandResult> {
  return runInterrupted(env, undefined, ...argv);
}

/** The same, until Ctrl-C. */
export async function runInterrupted(
  env: Readonly<Record<string, string>>,
  interrupted: AbortSignal | undefined,
  ...argv: string[]
): Promise<CommandResult> {
  let out = '';
  let err = '';
  const exitCode = await runCli(argv, {
    env,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.resolve(0),
    ...(interrupted === undefined ? {} : { interrupted }),
  });
  return { exitCode, out, err };
}

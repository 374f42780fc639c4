import { runCli } from '../../src/cli/program.ts';

export interface CommandResult {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** One command line in this process, as `entrepot` would run it. */
export async function runCommand(
  env: Readonly<Record<string, string>>,
  ...argv: string[]
): Promise<CommandResult> {
  let out = '';
  let err = '';
  const exitCode = await runCli(argv, {
    env,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.resolve(0),
  });
  return { exitCode, out, err };
}

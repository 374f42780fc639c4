import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config/load.ts';
import { addConfig } from './config.ts';
import { addDoctor } from './doctor.ts';
import { CliFailure, exitCodes, type CliIo } from './io.ts';
import { addServe } from './serve.ts';

/**
 * Runs one command line.
 * @param argv what stands after the program's name
 * @returns the exit code: 0 done, 1 failed, 2 usage; a bug is thrown
 */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode: number = exitCodes.done;
  const program = newProgram(io);
  const finish = (code: number): void => {
    exitCode = code;
  };
  addServe(program, io, finish);
  addDoctor(program, io, finish);
  addConfig(program, io);
  for (const command of commandsOf(program)) prepare(command, io);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander throws for --help and --version too, with exit code 0.
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    }
    if (error instanceof CliFailure) {
      io.stderr.write(`entrepot: ${error.message}\n`);
      return exitCodes.failed;
    }
    if (!(error instanceof ConfigError)) throw error;
    const count = error.problems.length;
    io.stderr.write(
      `${error.message}\nentrepot: the configuration has ${count} ${count === 1 ? 'problem' : 'problems'}; nothing was started.\n`,
    );
    return exitCodes.failed;
  }
}

/** The version in package.json, which stands two folders above this file in `src` and in `dist`. */
export function readVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function newProgram(io: CliIo): Command {
  return prepare(new Command('entrepot'), io)
    .description(
      'A pull-through mirror and caching proxy for container images: each image crosses the upstream link once, is served from local disk after that, and stays pullable when upstream is down.',
    )
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nExample:\n  entrepot serve --config /etc/entrepot.yaml\n\nThen point a client at it, for Docker in /etc/docker/daemon.json:\n  { "registry-mirrors": ["http://127.0.0.1:5000"] }',
    );
}

/** Commander settings that every command needs for itself. */
function prepare(command: Command, io: CliIo): Command {
  return command
    .exitOverride()
    .showHelpAfterError('(add --help for what is possible)')
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
    });
}

function commandsOf(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...commandsOf(child)]);
}

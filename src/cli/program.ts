import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { CliFailure, exitCodes, type CliIo, type Finish } from './io.ts';

/**
 * Every command, a file each. Only the file of the command that is asked for is loaded, so that one that
 * asks the server a question does not wait for what the server itself needs.
 */
const commands: readonly {
  readonly names: readonly string[];
  readonly load: () => Promise<(program: Command, io: CliIo, finish: Finish) => void>;
}[] = [
  { names: ['serve'], load: async () => (await import('./serve.ts')).addServe },
  { names: ['stats'], load: async () => (await import('./stats.ts')).addStats },
  { names: ['top'], load: async () => (await import('./top.ts')).addTop },
  { names: ['ls', 'inspect'], load: async () => (await import('./ls.ts')).addLs },
  { names: ['prewarm'], load: async () => (await import('./prewarm.ts')).addPrewarm },
  {
    names: ['pin', 'unpin', 'purge', 'gc', 'scrub'],
    load: async () => (await import('./cache.ts')).addCache,
  },
  { names: ['import', 'export'], load: async () => (await import('./archives.ts')).addArchives },
  { names: ['sync'], load: async () => (await import('./sync.ts')).addSync },
  { names: ['jobs'], load: async () => (await import('./jobs.ts')).addJobs },
  { names: ['doctor'], load: async () => (await import('./doctor.ts')).addDoctor },
  { names: ['config'], load: async () => (await import('./config.ts')).addConfig },
  {
    names: ['client-config'],
    load: async () => (await import('./client-config.ts')).addClientConfig,
  },
];

/**
 * Runs one command line.
 * @param argv what stands after the program's name
 * @returns the exit code: 0 done, 1 failed, 2 usage; a bug is thrown
 */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode: number = exitCodes.done;
  const finish = (code: number): void => {
    exitCode = code;
  };
  const program = await programFor(argv[0], io, finish);
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
      return error.exitCode;
    }
    const { ConfigError } = await import('../config/load.ts');
    if (!(error instanceof ConfigError)) throw error;
    const count = error.problems.length;
    io.stderr.write(
      `${error.message}\nentrepot: the configuration has ${count} ${count === 1 ? 'problem' : 'problems'}; nothing was started.\n`,
    );
    return exitCodes.failed;
  }
}

/** @param name of the command that is asked for; all are loaded when there is no such one */
async function programFor(name: string | undefined, io: CliIo, finish: Finish): Promise<Command> {
  const program = newProgram(io);
  const wanted = commands.filter(({ names }) => name !== undefined && names.includes(name));
  const loaded = await Promise.all(
    (wanted.length > 0 ? wanted : commands).map(({ load }) => load()),
  );
  for (const add of loaded) add(program, io, finish);
  if (wanted.length === 0) {
    const { addCompletion } = await import('./completion.ts');
    addCompletion(program, io, () => programFor(undefined, io, finish));
  }
  for (const command of commandsOf(program)) prepare(command, io);
  return program;
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

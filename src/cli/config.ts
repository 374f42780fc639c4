import type { Command } from 'commander';
import { ConfigError, loadConfig } from '../config/load.ts';
import { printConfig, writtenConfig } from '../config/print.ts';
import { addConfigReference } from './config-reference.ts';
import { exitCodes, type CliIo, type Finish } from './io.ts';

const configFlag = '-c, --config <file>';
interface ConfigOptions {
  readonly config?: string;
  readonly json?: boolean;
}

const configHelp = 'configuration file (default: $ENTREPOT_CONFIG, else built-in defaults)';

/** `entrepot config`: what the server would run by, without running it, and what can be set. */
export function addConfig(program: Command, io: CliIo, finish: Finish): void {
  const config = program
    .command('config')
    .summary('check, print and explain the configuration')
    .description(
      'Check or print the configuration that `entrepot serve` would run by, and explain what can be set.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot config check --config /etc/entrepot.yaml\n  entrepot config describe upstreams.docker.io.tagTtl',
    );

  config
    .command('check')
    .summary('find every fault of the configuration')
    .description(
      'Find every fault of the configuration, in the file and in ENTREPOT_… variables, each with its line and column. Exit code 0 when there is none, 1 when there are some.',
    )
    .option(configFlag, configHelp)
    .option('--json', 'print the faults as JSON, an empty list when there is none')
    .addHelpText('after', '\nExample:\n  entrepot config check --config /etc/entrepot.yaml')
    .action(async (options: ConfigOptions) => {
      const name = options.config ?? io.env['ENTREPOT_CONFIG'];
      if (options.json === true) {
        const faults = await faultsOf(name, io);
        io.stdout.write(`${JSON.stringify(faults, undefined, 2)}\n`);
        finish(faults.length === 0 ? exitCodes.done : exitCodes.failed);
        return;
      }
      await loadConfig({ file: options.config, env: io.env });
      io.stdout.write(`${name ? name : 'The default configuration'} is correct.\n`);
    });

  config
    .command('print')
    .summary('print the configuration with defaults filled in')
    .description(
      'Print the configuration with every default filled in and ENTREPOT_… variables applied, as YAML that loads again. Of secrets it shows where they are kept, never what they are.',
    )
    .option(configFlag, configHelp)
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExample:\n  entrepot config print --config /etc/entrepot.yaml')
    .action(async (options: ConfigOptions) => {
      const loaded = await loadConfig({ file: options.config, env: io.env });
      io.stdout.write(
        options.json === true
          ? `${JSON.stringify(writtenConfig(loaded), undefined, 2)}\n`
          : printConfig(loaded),
      );
    });

  addConfigReference(config, io);
}

interface Fault {
  /** Null for what a variable sets, whose name is the path. */
  readonly file: string | null;
  readonly line: number | null;
  readonly column: number | null;
  readonly path: string;
  readonly message: string;
}

async function faultsOf(file: string | undefined, { env }: CliIo): Promise<Fault[]> {
  try {
    await loadConfig({ file, env });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ line, column, path, message }) => ({
      file: line === undefined && path !== '' ? null : (file ?? null),
      line: line ?? null,
      column: column ?? null,
      path,
      message,
    }));
  }
}

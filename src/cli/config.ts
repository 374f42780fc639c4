import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { printConfig } from '../config/print.ts';
import { addConfigReference } from './config-reference.ts';
import type { CliIo } from './io.ts';

const configFlag = '-c, --config <file>';
const configHelp = 'configuration file (default: $ENTREPOT_CONFIG, else built-in defaults)';

/** `entrepot config`: what the server would run by, without running it, and what can be set. */
export function addConfig(program: Command, io: CliIo): void {
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
    .addHelpText('after', '\nExample:\n  entrepot config check --config /etc/entrepot.yaml')
    .action(async (options: { config?: string }) => {
      await loadConfig({ file: options.config, env: io.env });
      const name = options.config ?? io.env['ENTREPOT_CONFIG'];
      io.stdout.write(`${name ? name : 'The default configuration'} is correct.\n`);
    });

  config
    .command('print')
    .summary('print the configuration with defaults filled in')
    .description(
      'Print the configuration with every default filled in and ENTREPOT_… variables applied, as YAML that loads again. Of secrets it shows where they are kept, never what they are.',
    )
    .option(configFlag, configHelp)
    .addHelpText('after', '\nExample:\n  entrepot config print --config /etc/entrepot.yaml')
    .action(async (options: { config?: string }) => {
      io.stdout.write(printConfig(await loadConfig({ file: options.config, env: io.env })));
    });

  addConfigReference(config, io);
}

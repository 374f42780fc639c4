import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { CliIo } from './io.ts';

/** `entrepot serve`: loads the configuration and hands it to the server. */
export function addServe(program: Command, io: CliIo, finish: (exitCode: number) => void): void {
  program
    .command('serve')
    .summary('run the mirror')
    .description(
      'Run the mirror until it is told to stop (SIGTERM, SIGINT).\n\nWithout a configuration file it serves on port 5000, keeps at most 50 GiB in ./data, and mirrors docker.io and the other large public registries.',
    )
    .option(
      '-c, --config <file>',
      'configuration file (default: $ENTREPOT_CONFIG, else built-in defaults)',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot serve\n  entrepot serve --config /etc/entrepot.yaml\n  ENTREPOT_STORAGE_MAXSIZE=200GiB entrepot serve',
    )
    .action(async (options: { config?: string }) => {
      const config = await loadConfig({ file: options.config, env: io.env });
      finish(await io.serve(config));
    });
}

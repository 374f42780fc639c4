import type { Command } from 'commander';
import { loadConfigToServe } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { CliIo } from './io.ts';

/** `entrepot serve`: loads the configuration and hands it to the server. */
export function addServe(program: Command, io: CliIo, finish: (exitCode: number) => void): void {
  program
    .command('serve')
    .summary('run the mirror')
    .description(
      'Run the mirror until it is told to stop (SIGTERM, SIGINT). A second signal ends it at once. SIGHUP, or a change of the file, has the configuration read anew: what can be changed in a running mirror is, what takes a restart is said, and a file with faults changes nothing.\n\nWithout a configuration file it serves on port 5000, keeps at most 50 GiB in ./data, and mirrors docker.io and the other large public registries.',
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
      const { env } = io;
      const file = options.config ?? env['ENTREPOT_CONFIG'];
      const load = (): Promise<Config> => loadConfigToServe({ file, env });
      finish(await io.serve(await load(), { file: file === '' ? undefined : file, load }));
    });
}

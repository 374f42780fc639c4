import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Run } from '../api/runs.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { followRun } from './follow-run.ts';
import { imagesIn } from './image-files.ts';
import { CliFailure, exitCodes, usageFailure, type CliIo, type Finish } from './io.ts';

interface PrewarmOptions extends ServerOptions {
  readonly file?: readonly string[];
  readonly platform?: readonly string[];
  readonly referrers?: boolean;
  readonly dryRun?: boolean;
  readonly detach?: boolean;
  readonly json?: boolean;
}

const gather = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** `entrepot prewarm`: images are here before anybody asks. */
export function addPrewarm(program: Command, io: CliIo, finish: Finish): void {
  const command = program
    .command('prewarm')
    .argument('[images...]', 'such as nginx:1.27, ghcr.io/o/i:1.* or redis:^7')
    .summary('fetch images now, before anybody asks')
    .description(
      'Let the running server fetch images now. What is there already is not fetched again. Exit code 0 when all are there, 1 when some are not.',
    )
    .option(
      '-f, --file <file>',
      'a compose file, Kubernetes manifests, or a list; may be repeated',
      gather,
    )
    .option(
      '--platform <platform>',
      'such as linux/arm64; may be repeated (default: what is here, else linux/amd64)',
      gather,
    )
    .option('--referrers', 'signatures, attestations and bills of materials along')
    .option('--dry-run', 'say what would be fetched, and fetch nothing')
    .option('-d, --detach', 'start it and do not wait')
    .option('--json', 'print the run as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot prewarm nginx:1.27 redis:7.2\n  entrepot prewarm -f docker-compose.yml\n  helm template chart | entrepot prewarm -f /dev/stdin --platform linux/arm64',
    );
  addServerOptions(command).action(async (named: string[], options: PrewarmOptions) => {
    const images = [...named];
    for (const file of options.file ?? []) images.push(...imagesIn(await read(file), file, io.env));
    if (images.length === 0) {
      throw usageFailure('name images, or a file that names them with -f; --help has examples');
    }
    const client = new AdminClient(io, options);
    const run = await client.ask<Run>('POST', '/api/v1/prewarm', {
      images: [...new Set(images)],
      platforms: options.platform ?? [],
      referrers: options.referrers ?? false,
      dryRun: options.dryRun ?? false,
    });
    if (options.detach === true) {
      io.stdout.write(
        options.json === true ? `${JSON.stringify(run, undefined, 2)}\n` : `${run.id}\n`,
      );
      finish(exitCodes.done);
      return;
    }
    finish(await followRun(client, io, run.id, options.json === true));
  });
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CliFailure(`the file cannot be read: ${(error as Error).message}`);
  }
}

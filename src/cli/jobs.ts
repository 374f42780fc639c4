import type { Command } from 'commander';
import type { Job, Run, RunWithLog } from '../api/runs.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { followRun, lineOf } from './follow-run.ts';
import { exitCodes, usageFailure, widthOf, type CliIo, type Finish } from './io.ts';
import { ago, table } from './text.ts';

interface JobOptions extends ServerOptions {
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly follow?: boolean;
  readonly detach?: boolean;
}

/** `entrepot jobs`: the scheduler. */
export function addJobs(program: Command, io: CliIo, finish: Finish): void {
  const jobs = program
    .command('jobs')
    .summary('list, run, follow and cancel jobs')
    .description('List the jobs of the running server with their timetables, and the runs of late.')
    .option('--json', 'print both as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot jobs\n  entrepot jobs run prewarm:base\n  entrepot jobs log 0b9c6f6e --follow',
    );
  addServerOptions(jobs).action(async (options: JobOptions) => {
    const client = new AdminClient(io, options);
    const items = await client.all<Job>('/api/v1/jobs');
    const { items: runs } = await client.get<{ items: Run[] }>('/api/v1/runs?limit=10');
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify({ jobs: items, runs }, undefined, 2)}\n`
        : `${listOf(items, runs, widthOf(io.stdout))}\n`,
    );
  });

  const run = jobs
    .command('run')
    .argument('<job>', 'as «entrepot jobs» lists it')
    .summary('run a job now')
    .description('Run a job now, and follow it to its end.')
    .option('--dry-run', 'say what would be done, and do none of it')
    .option('-d, --detach', 'start it and do not wait')
    .option('--json', 'print the run as JSON')
    .addHelpText('after', '\nExample:\n  entrepot jobs run prewarm:base --dry-run');
  addServerOptions(run).action(async (name: string, _: JobOptions, command: Command) => {
    const options: JobOptions = command.optsWithGlobals();
    if (name === 'prewarm') throw usageFailure('name the images: entrepot prewarm <images…>');
    const client = new AdminClient(io, options);
    const path = `/api/v1/jobs/${encodeURIComponent(name)}/run?dryRun=${options.dryRun === true}`;
    const started = await client.ask<Run>('POST', path);
    if (options.detach !== true) {
      finish(await followRun(client, io, started.id, options.json === true));
      return;
    }
    io.stdout.write(
      options.json === true ? `${JSON.stringify(started, undefined, 2)}\n` : `${started.id}\n`,
    );
  });

  const log = jobs
    .command('log')
    .argument('<run>', 'the id of a run, or its beginning')
    .summary('print the log of a run')
    .description('Print the log of a run; with --follow until it ends.')
    .option('-F, --follow', 'go on until the run ends')
    .option('--json', 'print the run as JSON')
    .addHelpText('after', '\nExample:\n  entrepot jobs log 0b9c6f6e');
  addServerOptions(log).action(async (text: string, _: JobOptions, command: Command) => {
    const options: JobOptions = command.optsWithGlobals();
    const client = new AdminClient(io, options);
    const id = await idOf(client, text);
    if (options.follow === true) {
      finish(await followRun(client, io, id, options.json === true));
      return;
    }
    const found = await client.get<RunWithLog>(`/api/v1/runs/${id}`);
    io.stdout.write(
      options.json === true ? `${JSON.stringify(found, undefined, 2)}\n` : textOf(found),
    );
  });

  const cancel = jobs
    .command('cancel')
    .argument('<run>', 'the id of a run, or its beginning')
    .summary('end a run at its next object')
    .description('End a run at its next object; nothing is left half done.')
    .option('--json', 'print the run as JSON')
    .addHelpText('after', '\nExample:\n  entrepot jobs cancel 0b9c6f6e');
  addServerOptions(cancel).action(async (text: string, _: JobOptions, command: Command) => {
    const options: JobOptions = command.optsWithGlobals();
    const client = new AdminClient(io, options);
    const id = await idOf(client, text);
    const cancelled = await client.ask<Run>('DELETE', `/api/v1/runs/${id}`);
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify(cancelled, undefined, 2)}\n`
        : `${id} is cancelled.\n`,
    );
    finish(exitCodes.done);
  });
}

/** People type the beginning of an id. */
async function idOf(client: AdminClient, text: string): Promise<string> {
  for await (const run of client.list<Run>('/api/v1/runs'))
    if (run.id.startsWith(text)) return run.id;
  return text;
}

function listOf(jobs: Job[], runs: Run[], width: number): string {
  const now = Date.now();
  const jobRows = jobs.map((job) => [
    job.name,
    job.schedule ?? 'by hand',
    job.nextAt === null ? '–' : job.nextAt,
    job.lastRun === null ? 'never' : `${job.lastRun.state} ${ago(job.lastRun.queuedAt, now)}`,
  ]);
  const parts = [table(['JOB', 'SCHEDULE', 'NEXT', 'LAST'], jobRows, width)];
  if (runs.length > 0) {
    const rows = runs.map((run) => [
      run.id.slice(0, 8),
      run.job,
      run.reason === null ? run.state : `${run.state}: ${run.reason}`,
      ago(run.queuedAt, now),
      `${run.progress.imagesDone}/${run.progress.imagesTotal}`,
    ]);
    parts.push('', table(['RUN', 'JOB', 'STATE', 'BEGAN', 'IMAGES'], rows, width));
  }
  return parts.join('\n');
}

function textOf(run: RunWithLog): string {
  const lines = run.log.map(({ at, text }) => `${at}  ${text}`);
  return `${[...lines, lineOf(run)].join('\n')}\n`;
}

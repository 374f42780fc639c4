import type { Command } from 'commander';
import type { Run } from '../api/runs.ts';
import type { SyncStatus, SyncVerification } from '../api/sync.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { exitCodeOf, followRun, followToEnd } from './follow-run.ts';
import { CliFailure, exitCodes, widthOf, type CliIo, type Finish } from './io.ts';
import { ago, duration, size, table } from './text.ts';

interface SyncOptions extends ServerOptions {
  readonly json?: boolean;
  readonly dryRun?: boolean;
}

/** `entrepot sync`: this site and its primary. */
export function addSync(program: Command, io: CliIo, finish: Finish): void {
  const sync = program
    .command('sync')
    .argument('[rule]', 'one rule; all of them when none is named')
    .summary('copy from the primary site now; see how far behind; compare')
    .description(
      'Copy from the primary what the rules of this site select, and follow it to its end. Only what is missing crosses the line.',
    )
    .option('--dry-run', 'say what would be copied, and copy nothing')
    .option('--json', 'print the run as JSON; of all rules, a list of them')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot sync\n  entrepot sync team --dry-run\n  entrepot sync status\n  entrepot sync verify',
    );
  addServerOptions(sync).action(async (rule: string | undefined, options: SyncOptions) => {
    const client = new AdminClient(io, options);
    const items = await client.all<SyncStatus['items'][number]>('/api/v1/sync');
    const rules = rule === undefined ? items.map(({ name }) => name) : [rule];
    if (rules.length === 0) {
      throw new CliFailure('this server has no sync rules: see site.sync in its configuration');
    }
    let exitCode: number = exitCodes.done;
    const runs: Run[] = [];
    for (const name of rules) {
      // What Ctrl-C ends must not begin.
      if (io.interrupted?.aborted === true) break;
      const path = `/api/v1/sync/${encodeURIComponent(name)}?dryRun=${options.dryRun === true}`;
      const { id } = await client.ask<Run>('POST', path);
      if (rule === undefined && options.json === true) {
        const run = await followToEnd(client, id);
        runs.push(run);
        exitCode = Math.max(exitCode, exitCodeOf(run));
      } else exitCode = Math.max(exitCode, await followRun(client, io, id, options.json === true));
    }
    if (runs.length > 0) io.stdout.write(`${JSON.stringify(runs, undefined, 2)}\n`);
    finish(exitCode);
  });

  const status = sync
    .command('status')
    .summary('how far behind each rule is')
    .description(
      'Show each rule with its state, how far it is behind, its last success and failure. Exit code 0 when none fails.',
    )
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExample:\n  entrepot sync status');
  addServerOptions(status).action(async (_: SyncOptions, command: Command) => {
    const options: SyncOptions = command.optsWithGlobals();
    const found = await new AdminClient(io, options).get<SyncStatus>('/api/v1/sync');
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify(found, undefined, 2)}\n`
        : statusText(found, widthOf(io.stdout)),
    );
    const isFailing = found.items.some(({ state }) => state === 'failing');
    finish(isFailing ? exitCodes.failed : exitCodes.done);
  });

  const verify = sync
    .command('verify')
    .argument('[rule]', 'one rule; all of them when none is named')
    .summary('compare both sides, digest by digest')
    .description(
      'Compare what the rules select at the primary with what is here. Exit code 0 when both are equal, 1 when something differs.',
    )
    .option('--json', 'print the differences as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot sync verify\n  entrepot sync verify team --json',
    );
  addServerOptions(verify).action(
    async (rule: string | undefined, _: SyncOptions, command: Command) => {
      const options: SyncOptions = command.optsWithGlobals();
      const query = rule === undefined ? '' : `?rule=${encodeURIComponent(rule)}`;
      const client = new AdminClient(io, options);
      const found = await client.get<SyncVerification>(`/api/v1/sync/verify${query}`);
      io.stdout.write(
        options.json === true
          ? `${JSON.stringify(found, undefined, 2)}\n`
          : differencesText(found, widthOf(io.stdout)),
      );
      finish(found.isEqual ? exitCodes.done : exitCodes.failed);
    },
  );
}

function statusText(
  { site, primary, primaryAnsweredAt, items }: SyncStatus,
  width: number,
): string {
  if (primary === null && items.length === 0) {
    return 'This server has no primary and feeds no other: see site in its configuration.\n';
  }
  const now = Date.now();
  const answered = primaryAnsweredAt === null ? 'not yet' : ago(primaryAnsweredAt, now);
  const rows = items.map((rule) => [
    rule.name,
    rule.direction === 'from' ? 'from the primary' : `to ${new URL(rule.peer).host}`,
    rule.state,
    rule.lagChanges === null ? '–' : `${rule.lagChanges} changes`,
    rule.lagSeconds === null ? '–' : duration(rule.lagSeconds),
    rule.lastSuccessAt === null ? 'never' : ago(rule.lastSuccessAt, now),
    size(rule.copied.fetchedBytes),
    size(rule.copied.savedBytes),
  ]);
  const errors = items.flatMap((rule) => errorLines(rule, now));
  return `${[
    ...(primary === null
      ? []
      : [`${site ?? 'this site'} follows ${primary}; it answered ${answered}`, '']),
    table(['RULE', 'COPIES', 'STATE', 'BEHIND', 'FOR', 'SUCCESS', 'SENT', 'SAVED'], rows, width),
    ...errors,
  ].join('\n')}\n`;
}

/** Failures that are shown of a rule; the rest is counted. */
const undeliveredShown = 10;

function errorLines(
  { name, lastError, undelivered }: SyncStatus['items'][number],
  now: number,
): string[] {
  if (undelivered.length === 0) return lastError === null ? [] : [`${name}: ${lastError}`];
  const lines = undelivered.slice(0, undeliveredShown).map((one) => {
    const what = `${one.repository ?? 'everything'}${one.tag === null ? '' : `:${one.tag}`}`;
    const seconds = Math.max(0, (Date.parse(one.retryAt) - now) / 1000);
    return `${name}: ${what}: ${one.error} (attempt ${one.attempts}; again in ${duration(seconds)})`;
  });
  const more = undelivered.length - lines.length;
  return more === 0 ? lines : [...lines, `${name}: and ${more} more`];
}

function differencesText({ items }: SyncVerification, width: number): string {
  if (items.length === 0) return 'Both sides are equal.\n';
  const short = (digest: string | null): string => digest?.slice(0, 19) ?? 'nothing';
  const rows = items.map((one) => [
    `${one.repository}:${one.tag}`,
    short(one.here),
    short(one.there),
    one.rule,
  ]);
  return `${table(['IMAGE', 'HERE', 'AT THE PRIMARY', 'RULE'], rows, width)}\n${items.length} differ.\n`;
}

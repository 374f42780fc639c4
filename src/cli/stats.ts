import type { Command } from 'commander';
import type { Stats } from '../api/stats.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { widthOf, type CliIo } from './io.ts';
import { ago, duration, number, painter, percent, size, sparkline, table } from './text.ts';
import { watch } from './watch.ts';

/** So often the page is drawn again. */
const redrawMs = 1_000;

interface StatsOptions extends ServerOptions {
  readonly json?: boolean;
  readonly watch?: boolean;
}

/** What happened from one drawing to the next, a value each. */
interface Course {
  readonly served: number[];
  readonly fetched: number[];
  readonly requests: number[];
}

/** `entrepot stats`: what the cache is worth. */
export function addStats(program: Command, io: CliIo): void {
  const command = program
    .command('stats')
    .summary('show hit ratio, bytes served and saved, disk, upstream quota, top images')
    .description(
      'Show what the running server has served, fetched and saved since it started, how full its disk is, how its upstreams are, and which images are pulled most.',
    )
    .option('--json', 'print everything as JSON')
    .option('-w, --watch', 'draw it again every second, with the course of the last minutes')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot stats\n  entrepot stats --watch\n  entrepot stats --json | jq .bytes.saved',
    );
  addServerOptions(command).action(async (options: StatsOptions) => {
    const client = new AdminClient(io, options);
    const read = (): Promise<Stats> => client.get<Stats>('/api/v1/stats');
    if (options.json === true) {
      io.stdout.write(`${JSON.stringify(await read(), undefined, 2)}\n`);
      return;
    }
    if (options.watch !== true) {
      const lines = pageOf(await read(), io, undefined, Infinity);
      io.stdout.write(`${lines.join('\n')}\n`);
      return;
    }
    const course: Course = { served: [], fetched: [], requests: [] };
    let before = await read();
    await watch(io, redrawMs, async (rows) => {
      const now = await read();
      note(course.served, now.bytes.served - before.bytes.served);
      note(course.fetched, now.bytes.fetched - before.bytes.fetched);
      note(course.requests, now.requests.total - before.requests.total);
      before = now;
      return pageOf(now, io, course, rows);
    });
  });
}

/** Values that a wide terminal can show. */
const courseMax = 400;

function note(values: number[], value: number): void {
  values.push(Math.max(0, value));
  if (values.length > courseMax) values.shift();
}

function pageOf(stats: Stats, io: CliIo, course: Course | undefined, rows: number): string[] {
  const width = widthOf(io.stdout);
  const paint = painter(io.stdout, io.env);
  const { requests, bytes, disk } = stats;
  const up = duration(Math.round(stats.uptimeSeconds));
  const savedShare = bytes.served === 0 ? null : bytes.saved / bytes.served;
  const label = (name: string): string => paint('dim', name.padEnd(10));
  const lines = [
    `${paint('bold', `entrepot ${stats.version}`)}  up ${up}`,
    '',
    `${label('hit ratio')}${paint('bold', percent(stats.hitRatio))}  of ${number(requests.total)} requests: ${number(requests.hits)} hit, ${number(requests.misses)} missed, ${number(requests.joined)} joined`,
    `${label('')}${number(requests.revalidated)} revalidated, ${number(requests.stale)} stale, ${number(requests.errors)} failed`,
    `${label('bytes')}${size(bytes.served)} served, ${size(bytes.fetched)} fetched, ${paint('green', `${size(bytes.saved)} saved`)} (${percent(savedShare)})`,
    `${label('pulls')}${number(stats.quotaRequestsSaved)} of the upstreams' quota saved`,
    ...prewarmLines(stats, label),
    `${label('disk')}${diskText(stats)}; ${number(disk.blobs)} blobs, ${size(disk.freeBytes)} free`,
  ];
  if (course === undefined) lines.push(`${label('')}${tiersText(stats)}`);
  if (course !== undefined) lines.push('', ...courseLines(course, width, paint));
  lines.push('', table(...upstreamTable(stats), width, [2, 3, 4, 5, 6]));
  const room = rows - lines.join('\n').split('\n').length - 3;
  if (stats.fills.length > 0 && room > 2) {
    const fills = stats.fills.slice(0, Math.max(1, Math.min(5, room - 3)));
    lines.push('', table(...fillTable(fills), width, [1, 2, 3, 4]));
  }
  const left = rows - lines.join('\n').split('\n').length - 3;
  if (stats.topImages.length > 0 && left > 0) {
    lines.push('', table(...imageTable(stats, Math.min(10, left)), width, [1, 2]));
  }
  return lines.join('\n').split('\n');
}

/** Nothing while nothing was prewarmed. */
function prewarmLines({ prewarm }: Stats, label: (name: string) => string): string[] {
  const { bytes, servedBytes, evictedBytes } = prewarm;
  if (bytes === 0) return [];
  const share = percent(servedBytes / bytes);
  const text = `${size(bytes)}, ${size(servedBytes)} of it served since (${share}), ${size(evictedBytes)} evicted unserved`;
  return [`${label('prewarmed')}${text}`];
}

function diskText({ disk }: Stats): string {
  if (!disk.isCounted) return `${size(disk.usedBytes)} (still counting)`;
  if (disk.maxBytes === 0) return size(disk.usedBytes);
  return `${size(disk.usedBytes)} of ${size(disk.maxBytes)} (${percent(disk.usedBytes / disk.maxBytes)})`;
}

function tiersText({ disk }: Stats): string {
  const names = { small: 'below 1 MiB', large: 'larger' };
  return disk.tiers
    .map(({ name, usedBytes, blobs }) => `${size(usedBytes)} in ${number(blobs)} ${names[name]}`)
    .join(', ');
}

function courseLines(
  { served, fetched, requests }: Course,
  width: number,
  paint: ReturnType<typeof painter>,
): string[] {
  const line = (name: string, values: number[], last: string): string =>
    `${paint('dim', name.padEnd(10))}${sparkline(values, Math.max(10, width - 26))} ${last}`;
  return [
    line('served', served, `${size(served.at(-1) ?? 0)}/s`),
    line('fetched', fetched, `${size(fetched.at(-1) ?? 0)}/s`),
    line('requests', requests, `${number(requests.at(-1) ?? 0)}/s`),
  ];
}

type TableParts = [head: string[], rows: string[][]];

function upstreamTable({ upstreams }: Stats): TableParts {
  const used = upstreams.filter(({ requests, state }) => requests > 0 || state !== 'up');
  const shown = used.length > 0 ? used : upstreams.slice(0, 3);
  return [
    ['UPSTREAM', 'STATE', 'REQUESTS', 'ERRORS', 'AVERAGE', 'GETS', 'HEADS', 'PULLS LEFT'],
    shown.map((one) => {
      const quota = one.quotas.findLast(({ remaining }) => remaining !== null);
      const left = quota === undefined ? '–' : `${quota.remaining} of ${quota.limit ?? '?'}`;
      const sum = (what: 'pulls' | 'checks'): string =>
        number(one.quotas.reduce((total, account) => total + account[what], 0));
      return [
        one.name,
        stateText(one),
        number(one.requests),
        number(one.errors),
        `${one.averageMs.toFixed(0)} ms`,
        sum('pulls'),
        sum('checks'),
        left,
      ];
    }),
  ];
}

/** A limit is told before anything else: it says why what is cached is stale. */
function stateText({ state, pauses }: Stats['upstreams'][number]): string {
  if (pauses.length === 0) return state;
  return pauses.map(({ scope, secondsLeft }) => `429: ${scope} paused ${secondsLeft} s`).join(', ');
}

function fillTable(fills: Stats['fills']): TableParts {
  return [
    ['ARRIVING', 'DONE', 'SIZE', 'RATE', 'CLIENTS'],
    fills.map((fill) => {
      const share = fill.sizeBytes === null ? null : fill.doneBytes / Math.max(1, fill.sizeBytes);
      const rate = fill.seconds > 0 ? fill.doneBytes / fill.seconds : 0;
      const whole = fill.sizeBytes === null ? '?' : size(fill.sizeBytes);
      return [fill.repository, percent(share), whole, `${size(rate)}/s`, String(fill.clients)];
    }),
  ];
}

function imageTable({ topImages }: Stats, rows: number): TableParts {
  const now = Date.now();
  return [
    ['IMAGE', 'PULLS', 'SERVED', 'LAST PULL'],
    topImages
      .slice(0, rows)
      .map((image) => [
        image.repository,
        number(image.pulls),
        size(image.servedBytes),
        ago(image.lastPullAt, now),
      ]),
  ];
}

import type { Command } from 'commander';
import type { Stats } from '../api/stats.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { widthOf, type CliIo } from './io.ts';
import { number, percent, size, table } from './text.ts';
import { watch } from './watch.ts';

/** `entrepot top`: what arrives from upstreams at this moment. */
export function addTop(program: Command, io: CliIo): void {
  const command = program
    .command('top')
    .summary('watch the transfers under way')
    .description('Watch the transfers from upstreams as they go, until Ctrl-C.')
    .option('--json', 'print the transfers once, as JSON')
    .addHelpText('after', '\nExample:\n  entrepot top');
  addServerOptions(command).action(async (options: ServerOptions & { json?: boolean }) => {
    const client = new AdminClient(io, options);
    const read = (): Promise<Stats> => client.get<Stats>('/api/v1/stats');
    if (options.json === true) {
      io.stdout.write(`${JSON.stringify((await read()).fills, undefined, 2)}\n`);
      return;
    }
    await watch(io, 500, async () => pageOf(await read(), widthOf(io.stdout)));
  });
}

function pageOf({ fills, requests, bytes }: Stats, width: number): string[] {
  const clients = fills.reduce((sum, fill) => sum + fill.clients, 0);
  const rows = [...fills]
    .sort((a, b) => b.clients - a.clients || b.doneBytes - a.doneBytes)
    .map((fill) => {
      const rate = fill.seconds > 0 ? fill.doneBytes / fill.seconds : 0;
      const share = fill.sizeBytes === null ? null : fill.doneBytes / Math.max(1, fill.sizeBytes);
      return [
        fill.repository,
        fill.digest.slice(7, 19),
        fill.reason,
        percent(share),
        fill.sizeBytes === null ? '?' : size(fill.sizeBytes),
        `${size(rate)}/s`,
        String(fill.connections),
        String(fill.clients),
      ];
    });
  return [
    `${fills.length} transfers for ${clients} clients; ${number(requests.total)} requests, ${size(bytes.served)} served so far`,
    '',
    ...(rows.length === 0
      ? ['nothing arrives at the moment']
      : table(
          ['REPOSITORY', 'BLOB', 'FOR', 'DONE', 'SIZE', 'RATE', 'CONNS', 'CLIENTS'],
          rows,
          width,
          [3, 4, 5, 6, 7],
        ).split('\n')),
  ];
}

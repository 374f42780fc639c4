import { setTimeout as sleep } from 'node:timers/promises';
import type { CliIo } from './io.ts';

/**
 * Redraws a page until Ctrl-C. Each line is written over the old one, so nothing flickers; what a
 * terminal scrolled before is there again afterwards.
 * @param draw the lines for a terminal of that many rows
 */
export async function watch(
  io: CliIo,
  everyMs: number,
  draw: (rows: number) => Promise<readonly string[]>,
): Promise<void> {
  const { stdout, interrupted } = io;
  const isTerminal = stdout.isTTY === true;
  if (isTerminal) stdout.write('\u001B[?1049h\u001B[?25l');
  try {
    for (let isOver = false; !isOver; isOver = interrupted?.aborted === true) {
      const rows = stdout.rows ?? 24;
      const lines = await draw(rows).catch((error: unknown) => {
        if (interrupted?.aborted === true) return undefined;
        throw error;
      });
      if (lines === undefined) return;
      if (isTerminal) {
        const shown = lines.slice(0, rows - 1).map((line) => `${line}\u001B[K\r\n`);
        stdout.write(`\u001B[H${shown.join('')}\u001B[J`);
      } else stdout.write(`${lines.join('\n')}\n\n`);
      await sleep(
        everyMs,
        undefined,
        interrupted === undefined ? {} : { signal: interrupted },
      ).catch(() => {});
    }
  } finally {
    if (isTerminal) stdout.write('\u001B[?25h\u001B[?1049l');
  }
}

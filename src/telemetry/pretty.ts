import type { DestinationStream } from 'pino';
import { formatBytes } from '../base/units.ts';

const labels: Readonly<Record<number, readonly [name: string, colour: string]>> = {
  10: ['trace', '2'],
  20: ['debug', '2'],
  30: ['info ', '32'],
  40: ['WARN ', '33'],
  50: ['ERROR', '31'],
};

/** Lines of the log for a person: the time, the level, what happened, and its facts. */
export function prettyStream(
  write: (text: string) => unknown,
  hasColours: boolean,
): DestinationStream {
  const paint = (code: string, text: string): string =>
    hasColours ? `\u001B[${code}m${text}\u001B[0m` : text;
  return {
    write: (line) => {
      const { level, time, msg, err, ...facts } = JSON.parse(line) as Record<string, unknown>;
      const [name, colour] = labels[Number(level)] ?? ['     ', '0'];
      const clock = new Date(String(time)).toTimeString().slice(0, 8);
      const told = Object.entries(facts)
        .filter(([key, value]) => key !== 'event' && value !== null)
        .map(([key, value]) => `${paint('2', `${key}=`)}${factText(key, value)}`);
      const stack = (err as { stack?: string } | undefined)?.stack;
      const trace = stack === undefined ? '' : `\n${stack}`;
      const head = `${paint('2', clock)} ${paint(colour, name)} ${textOf(msg)}`;
      write(`${[head, ...told].join('  ')}${trace}\n`);
    },
  };
}

function factText(key: string, value: unknown): string {
  if (typeof value === 'number' && key.endsWith('Bytes')) return formatBytes(value);
  if (typeof value === 'number' && key.endsWith('Ms')) return `${value.toFixed(1)}ms`;
  const text = textOf(value);
  return /\s/.test(text) ? JSON.stringify(text) : text;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

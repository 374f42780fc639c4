import Table from 'cli-table3';
import { formatBytes } from '../base/units.ts';
import type { Output } from './io.ts';

/** Words for people: sizes, times, tables, colours. */

type Colour = 'green' | 'yellow' | 'red' | 'dim' | 'bold';

const codes: Readonly<Record<Colour, string>> = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
};

/** Colours for a terminal that wants them; no-color.org. */
export function painter(
  output: Output,
  env: Readonly<Record<string, string | undefined>>,
): (colour: Colour, text: string) => string {
  const isOn = output.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  return (colour, text) => (isOn ? `\u001B[${codes[colour]}m${text}\u001B[0m` : text);
}

const noLines = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/**
 * Columns under their names. The first is cut in its middle when all together are wider than the
 * terminal; figures stand to the right.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number,
  figures: readonly number[] = [],
): string {
  const widths = head.map((name, at) =>
    Math.max(name.length, ...rows.map((row) => (row[at] ?? '').length)),
  );
  const others = widths.slice(1).reduce((sum, one) => sum + one + 2, 0);
  const firstMax = Math.max(12, width - others - 1);
  const drawn = new Table({
    chars: noLines,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: head.map((_, at) => (figures.includes(at) ? 'right' : 'left')),
  });
  drawn.push([...head]);
  for (const [first = '', ...rest] of rows) drawn.push([shorten(first, firstMax), ...rest]);
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** The beginning and the end say more than the beginning alone. */
export function shorten(text: string, max: number): string {
  if (text.length <= max) return text;
  const head = Math.ceil((max - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (max - 1 - head))}`;
}

export function size(bytes: number): string {
  return formatBytes(bytes);
}

/** `1,234,567`. `toLocaleString` would load the tables of all languages: 25 ms. */
export function number(value: number): string {
  return String(value).replace(/\B(?=(?:\d{3})+$)/g, ',');
}

export function percent(share: number | null): string {
  return share === null ? '–' : `${(share * 100).toFixed(1)} %`;
}

/** `3 h 12 min`, `45 s`: the two largest units. */
export function duration(seconds: number): string {
  const parts: [unit: string, seconds: number][] = [
    ['d', 86_400],
    ['h', 3_600],
    ['min', 60],
    ['s', 1],
  ];
  const at = parts.findIndex(([, length]) => seconds >= length);
  if (at === -1) return `${seconds.toFixed(1)} s`;
  const [unit, length] = parts[at]!;
  const [nextUnit, nextLength] = parts[at + 1] ?? ['', 0];
  const rest = nextLength === 0 ? 0 : Math.floor((seconds % length) / nextLength);
  const main = `${Math.floor(seconds / length)} ${unit}`;
  return rest === 0 ? main : `${main} ${rest} ${nextUnit}`;
}

/** `5 min ago`. @param now milliseconds since 1970 */
export function ago(time: string, now: number): string {
  if (now - Date.parse(time) < 1_000) return 'just now';
  return `${duration(Math.max(0, Math.round((now - Date.parse(time)) / 1000)))} ago`;
}

const bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/** A line of bars, scaled to the highest. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = values.slice(-width);
  const highest = Math.max(...shown, 1);
  return shown
    .map(
      (value) => bars[Math.min(bars.length - 1, Math.round((value / highest) * (bars.length - 1)))],
    )
    .join('');
}

/** `▕██████▌      ▏` */
export function progressBar(share: number, width: number): string {
  const full = Math.max(0, Math.min(1, share)) * width;
  const whole = Math.floor(full);
  const part = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][Math.floor((full - whole) * 8)] ?? '';
  return `▕${`${'█'.repeat(whole)}${part}`.padEnd(width)}▏`;
}

/** Lines of at most `width`, each after `indent`, broken between words. */
export function wrap(text: string, width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    if (line !== indent && line.length + 1 + word.length > width) {
      lines.push(line);
      line = indent;
    }
    line += line === indent ? word : ` ${word}`;
  }
  return line === indent ? lines : [...lines, line];
}

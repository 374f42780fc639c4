import { stringify } from 'yaml';
import { formatDuration } from '../base/units.ts';
import { listenText } from './scalars.ts';
import type { Config } from './schema.ts';
import { keysAt } from './shape.ts';

const sizeUnits = [
  ['TiB', 1024 ** 4],
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
] as const;

/**
 * The configuration as a file that means the same, defaults written out. It shows where secrets are
 * kept and never what they are.
 */
export function printConfig(config: Config): string {
  return stringify(writtenConfig(config));
}

/** The same as keys and values. */
export function writtenConfig(config: Config): unknown {
  return written(config, []);
}

/**
 * From a `Config` back to keys and values as people write them, by the unit at the end of the name, in
 * the order of the schema.
 */
function written(value: unknown, path: readonly PropertyKey[]): unknown {
  if (Array.isArray(value)) return value.map((item, index) => written(item, [...path, index]));
  if (value instanceof Map) return written(Object.fromEntries(value), path);
  if (typeof value !== 'object' || value === null) return value;
  if ('host' in value && 'port' in value) {
    return listenText({ host: String(value.host), port: Number(value.port) });
  }
  // minFree is a share or bytes, and has no name of its own for either.
  if ('share' in value) return percentText(Number(value.share));
  if ('bytes' in value) return sizeText(Number(value.bytes));
  const entries = Object.entries(value)
    .filter(([key, child]) => child !== undefined && !isUpstreamName(path, key))
    .map(([key, child]) => writtenEntry(key, child, path));
  const order = keysAt(path);
  if (order.length > 0) entries.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  return Object.fromEntries(entries);
}

/** An upstream's name is its key already. */
function isUpstreamName(path: readonly PropertyKey[], key: string): boolean {
  return path.length === 2 && path[0] === 'upstreams' && key === 'name';
}

function writtenEntry(
  key: string,
  value: unknown,
  path: readonly PropertyKey[],
): [string, unknown] {
  if (typeof value !== 'number') return [key, written(value, [...path, key])];
  const [, name, unit] = /^(.+?)(BytesPerSecond|Bytes|Share|Ms)$/.exec(key) ?? [];
  if (name === undefined) return [key, value];
  if (unit === 'Ms') return [name, durationText(value)];
  if (unit === 'Share') return [name, percentText(value)];
  if (value === 0) return [name, 0];
  return [name, unit === 'Bytes' ? sizeText(value) : `${sizeText(value)}/s`];
}

function sizeText(bytes: number): string {
  const unit = sizeUnits.find(([, size]) => bytes >= size && bytes % size === 0);
  return unit === undefined ? String(bytes) : `${bytes / unit[1]}${unit[0]}`;
}

function durationText(ms: number): string {
  if (ms === Infinity) return 'forever';
  if (ms === 0) return '0s';
  return formatDuration(ms);
}

function percentText(share: number): string {
  // 0.07 * 100 is 7.000000000000001.
  return `${Number((share * 100).toFixed(6))}%`;
}

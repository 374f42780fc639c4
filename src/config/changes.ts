import { writtenConfig } from './print.ts';
import type { Config } from './schema.ts';

/**
 * One setting that differs, in the words of the file; undefined: not set. An upstream or a rule that
 * comes or goes is one change, to «added» or «removed».
 */
export interface SettingChange {
  readonly setting: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/**
 * What takes a restart, with all below it; everything else is applied to a running mirror. Of the
 * certificate and the token only the place is fixed: what stands there is read anew.
 */
const restartSettings = [
  'registry.listen',
  'registry.tls',
  'admin',
  'storage.path',
  'storage.eviction',
  'storage.verify.onRead',
  'log.format',
  'site.name',
  'site.primary',
];

/** Whether a change of it, or of what is below it, waits for the next start. */
export function needsRestart(setting: string): boolean {
  return restartSettings.some((one) => setting === one || setting.startsWith(`${one}.`));
}

/** `next`, but what takes a restart as it is in `running`. */
export function withoutRestart(next: Config, running: Config): Config {
  return restartSettings.reduce<unknown>(
    (config, setting) => withValueOf(running, config, setting.split('.')),
    next,
  ) as Config;
}

/** What differs, setting by setting; rules are told apart by their names. */
export function changesBetween(before: Config, after: Config): SettingChange[] {
  const from = new Map(leavesOf(writtenConfig(before), []));
  const to = new Map(leavesOf(writtenConfig(after), []));
  const wholes = (leaves: ReadonlyMap<string, Leaf>): Set<string | undefined> =>
    new Set(leaves.values().map(({ whole }) => whole));
  const [had, has] = [wholes(from), wholes(to)];
  const changes = new Map<string, SettingChange>();
  for (const setting of new Set([...from.keys(), ...to.keys()])) {
    const [old, now] = [from.get(setting), to.get(setting)];
    const whole = old?.whole ?? now?.whole;
    if (whole !== undefined && had.has(whole) !== has.has(whole)) {
      const text = has.has(whole) ? 'added' : 'removed';
      changes.set(whole, { setting: whole, from: undefined, to: text });
    } else if (old?.text !== now?.text) {
      changes.set(setting, { setting, from: old?.text, to: now?.text });
    }
  }
  return [...changes.values()];
}

interface Leaf {
  readonly text: string;
  /** The upstream or the rule that it belongs to. */
  readonly whole: string | undefined;
}

function* leavesOf(
  value: unknown,
  path: readonly string[],
  whole?: string,
): Iterable<[string, Leaf]> {
  const setting = path.join('.');
  if (Array.isArray(value) && value.every(hasName)) {
    for (const item of value)
      yield* leavesOf(item, [...path, item.name], `${setting}.${item.name}`);
  } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [key, child] of Object.entries(value)) {
      yield* leavesOf(child, [...path, key], setting === 'upstreams' ? `upstreams.${key}` : whole);
    }
  } else {
    yield [setting, { text: typeof value === 'string' ? value : JSON.stringify(value), whole }];
  }
}

function hasName(value: unknown): value is { readonly name: string } {
  return typeof value === 'object' && value !== null && 'name' in value;
}

function withValueOf(source: unknown, target: unknown, path: readonly string[]): unknown {
  const [key, ...rest] = path;
  // A section that comes or goes does so with what it holds.
  if (key === undefined || source === undefined || target === undefined) return source;
  const from = (source as Readonly<Record<string, unknown>>)[key];
  const to = target as Readonly<Record<string, unknown>>;
  return { ...to, [key]: withValueOf(from, to[key], rest) };
}

import { z } from 'zod';
import { canonicalRegistry } from '../oci/reference.ts';
import {
  always,
  findOnlyDefault,
  needDefaultUpstream,
  needNamesOfTheirOwn,
  needSeparatePorts,
  needUpstreamsToPrewarm,
} from './contradictions.ts';
import { flag, text } from './scalars.ts';
import { admin } from './settings/admin.ts';
import { prewarmRule } from './settings/prewarm.ts';
import { registry } from './settings/registry.ts';
import { site } from './settings/site.ts';
import { storage } from './settings/storage.ts';
import { builtInUpstreams, upstreams } from './settings/upstreams.ts';

/**
 * Every setting of Entrepot, once: its key, its kind, its default. What comes out is `Config`, with
 * the unit at the end of each name. `config/entrepot.yaml` explains the settings to people, and a test
 * holds it to this list.
 */

/** The list of settings. Scalars come in as text; an absent key is `undefined`. */
export const settings = z
  .strictObject({
    registry: registry.prefault({}),
    admin: admin.prefault({}),
    storage: storage.prefault({}),
    upstreams: upstreams.prefault(Object.fromEntries(builtInUpstreams.map((name) => [name, {}]))),
    defaultUpstream: text.transform(canonicalRegistry).optional(),
    offline: flag.prefault('false'),
    blobUnavailable: z
      .enum(['404', '503'])
      .prefault('404')
      .transform((value) => (value === '404' ? 404 : 503)),
    staleIncomplete: z.enum(['refuse', 'serve']).prefault('refuse'),
    log: z
      .strictObject({
        level: z.enum(['trace', 'debug', 'info', 'warn', 'error']).prefault('info'),
        format: z.enum(['auto', 'json', 'pretty']).prefault('auto'),
      })
      .prefault({}),
    prewarm: z.array(prewarmRule).prefault([]),
    site: site.optional(),
  })
  .superRefine(needSeparatePorts, always)
  .superRefine(needDefaultUpstream, always)
  .superRefine(({ prewarm }, context) => needNamesOfTheirOwn({ prewarm }, context), always)
  .superRefine(needUpstreamsToPrewarm, always)
  .transform((value) => ({
    ...value,
    defaultUpstream: value.defaultUpstream ?? findOnlyDefault(value.upstreams) ?? '',
  }));

/**
 * What the mirror runs by. `…Ms` are milliseconds, `…Bytes` bytes, `…Share` 0 to 1. `maxSizeBytes` 0 and
 * `…BytesPerSecond` 0 mean no limit; `maxStaleMs` is Infinity for «forever». `upstreams` is keyed by
 * canonical name and always holds `defaultUpstream`.
 */
export type Config = Frozen<z.output<typeof settings>>;

export type UpstreamConfig =
  Config['upstreams'] extends ReadonlyMap<string, infer Value> ? Value : never;

type Frozen<T> =
  T extends Map<infer Key, infer Value>
    ? ReadonlyMap<Key, Frozen<Value>>
    : T extends object
      ? { readonly [Key in keyof T]: Frozen<T[Key]> }
      : T;

/** The names that an absent `upstreams` stands for. */
export function builtInUpstreamNames(): readonly string[] {
  return builtInUpstreams;
}

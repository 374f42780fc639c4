import { z } from 'zod';
import { canonicalRegistry } from '../oci/reference.ts';
import {
  findOnlyDefault,
  needBoth,
  needConnections,
  needDefaultUpstream,
  needDistinctNames,
  needSeparatePorts,
  needTokenBeyondLoopback,
} from './contradictions.ts';
import {
  duration,
  durationOrForever,
  findRegistryName,
  flag,
  host,
  integer,
  listen,
  minFree,
  platform,
  rate,
  registryUrl,
  schedule,
  secret,
  share,
  size,
  text,
  timeout,
} from './scalars.ts';

/**
 * Every setting of Entrepot, once: its key, its kind, its default. What comes out is `Config`, with
 * the unit at the end of each name. `config/entrepot.yaml` explains the settings to people, and a test
 * holds it to this list.
 */

/** Contradictions are looked for even where a value is wrong, so that a person sees every fault at once. */
const always = { when: () => true };

/** What is mirrored when the file names no upstreams. */
const builtInUpstreams = [
  'docker.io',
  'ghcr.io',
  'quay.io',
  'gcr.io',
  'registry.k8s.io',
  'mcr.microsoft.com',
  'public.ecr.aws',
  'nvcr.io',
];

const registryTls = z.strictObject({
  cert: text,
  key: text,
  clientCa: text.optional(),
});

const registry = z
  .strictObject({
    listen: listen.prefault('0.0.0.0:5000'),
    tls: registryTls.optional(),
    shutdownTimeout: timeout.prefault('10s'),
  })
  .transform(({ shutdownTimeout, ...rest }) => ({ ...rest, shutdownTimeoutMs: shutdownTimeout }));

const admin = z
  .strictObject({ listen: listen.prefault('127.0.0.1:5001'), token: secret.optional() })
  .superRefine(needTokenBeyondLoopback, always);

const storage = z
  .strictObject({
    path: text.prefault('./data'),
    maxSize: size.prefault('50GiB'),
    minFree: minFree.prefault('5%'),
    lowWatermark: share.prefault('90%'),
    verify: z
      .strictObject({ scrub: schedule.optional(), onRead: z.enum(['off', 'crc']).optional() })
      .prefault({}),
  })
  .transform(({ maxSize, lowWatermark, ...rest }) => ({
    ...rest,
    maxSizeBytes: maxSize,
    lowWatermarkShare: lowWatermark,
  }));

const timeouts = z
  .strictObject({
    connect: timeout.prefault('5s'),
    headers: timeout.prefault('20s'),
    idle: timeout.prefault('30s'),
    revalidate: timeout.prefault('3s'),
  })
  .transform((value) => ({
    connectMs: value.connect,
    headersMs: value.headers,
    idleMs: value.idle,
    revalidateMs: value.revalidate,
  }));

const upstreamTls = z
  .strictObject({
    ca: text.optional(),
    cert: text.optional(),
    key: text.optional(),
    insecure: flag.prefault('false'),
  })
  .superRefine((value, context) => needBoth(value, 'cert', 'key', context), always);

const connectionsPerBlobDefault = 4;

const upstream = z
  .strictObject({
    urls: z.array(registryUrl).min(1).optional(),
    username: text.optional(),
    password: secret.optional(),
    tagTtl: duration.prefault('1m'),
    maxStale: durationOrForever.prefault('forever'),
    onGone: z.enum(['serve', 'warn', 'deny']).prefault('serve'),
    onDenied: z.enum(['deny', 'serve']).prefault('deny'),
    readAhead: flag.prefault('true'),
    connectionsPerBlob: integer(1, 64).optional(),
    maxConnections: integer(1, 1024).prefault('32'),
    bandwidth: rate.prefault('0'),
    minRate: rate.prefault('1KiB'),
    timeouts: timeouts.prefault({}),
    offline: flag.prefault('false'),
    authHosts: z.array(host).prefault([]),
    tls: upstreamTls.optional(),
  })
  .superRefine((value, context) => {
    needBoth(value, 'username', 'password', context);
    needConnections(value, context);
  }, always)
  .transform(({ tagTtl, maxStale, bandwidth, minRate, ...rest }) => ({
    ...rest,
    connectionsPerBlob:
      rest.connectionsPerBlob ?? Math.min(connectionsPerBlobDefault, rest.maxConnections),
    tagTtlMs: tagTtl,
    maxStaleMs: maxStale,
    bandwidthBytesPerSecond: bandwidth,
    minRateBytesPerSecond: minRate,
  }));

const upstreams = z
  .record(
    z.string().refine((name) => findRegistryName(name) !== undefined, {
      error:
        'not the name of a registry; write its host as image names show it, for example ghcr.io or registry.example.com:5000',
    }),
    upstream.prefault({}),
  )
  .refine((byName) => Object.keys(byName).length > 0, {
    error: 'it is empty; name at least one registry, or leave the key out for the built-in ones',
  })
  .superRefine(needDistinctNames, always)
  .transform((byName) => {
    const entries = Object.entries(byName).map(([given, settings]) => {
      const name = canonicalRegistry(given);
      return [name, { ...settings, name, urls: settings.urls ?? [registryUrlOf(name)] }] as const;
    });
    return new Map(entries);
  });

const prewarmRule = z
  .strictObject({
    name: text,
    images: z.array(text).min(1),
    platforms: z.array(platform).prefault([]),
    schedule: schedule.optional(),
    bandwidth: rate.prefault('0'),
    keepQuota: integer(0, 1_000_000).prefault('0'),
    pin: flag.prefault('false'),
  })
  .transform(({ bandwidth, ...rest }) => ({ ...rest, bandwidthBytesPerSecond: bandwidth }));

const syncRule = z
  .strictObject({
    name: text,
    repositories: z.array(text).min(1),
    tags: z
      .strictObject({
        include: z.array(text).prefault([]),
        exclude: z.array(text).prefault([]),
        newest: integer(1, 1_000_000).optional(),
      })
      .prefault({}),
    platforms: z.array(platform).prefault([]),
    schedule: schedule.optional(),
    follow: flag.prefault('true'),
    bandwidth: rate.prefault('0'),
    deletions: z.enum(['keep', 'follow']).prefault('keep'),
  })
  .transform(({ bandwidth, ...rest }) => ({ ...rest, bandwidthBytesPerSecond: bandwidth }));

const site = z.strictObject({
  name: text,
  primary: z.strictObject({
    url: registryUrl,
    admin: registryUrl.optional(),
    token: secret.optional(),
  }),
  sync: z.array(syncRule).prefault([]),
});

/** The list of settings. Scalars come in as text; an absent key is `undefined`. */
export const settings = z
  .strictObject({
    registry: registry.prefault({}),
    admin: admin.prefault({}),
    storage: storage.prefault({}),
    upstreams: upstreams.prefault(Object.fromEntries(builtInUpstreams.map((name) => [name, {}]))),
    defaultUpstream: text.transform(canonicalRegistry).optional(),
    blobUnavailable: z
      .enum(['404', '503'])
      .prefault('404')
      .transform((value) => (value === '404' ? 404 : 503)),
    staleIncomplete: z.enum(['refuse', 'serve']).prefault('refuse'),
    log: z
      .strictObject({ level: z.enum(['trace', 'debug', 'info', 'warn', 'error']).prefault('info') })
      .prefault({}),
    prewarm: z.array(prewarmRule).prefault([]),
    site: site.optional(),
  })
  .superRefine(needSeparatePorts, always)
  .superRefine(needDefaultUpstream, always)
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

/** A sentence for the log for each setting that is set and changes nothing yet. */
export function settingsWithoutEffect(config: Config): string[] {
  const sentences: string[] = [];
  if (config.prewarm.length > 0) {
    sentences.push('prewarm is set, but pre-warming is not built yet: nothing is pre-warmed');
  }
  if (config.site !== undefined) {
    sentences.push(
      'site is set, but site sync is not built yet: nothing is asked of or copied from a primary',
    );
  }
  if (config.storage.verify.scrub !== undefined) {
    sentences.push(
      'storage.verify.scrub is set, but scrubbing is not built yet: nothing is scrubbed',
    );
  }
  if (config.storage.verify.onRead === 'crc') {
    sentences.push(
      'storage.verify.onRead is crc, but checking on reads is not built yet: content is verified when it arrives and not again',
    );
  }
  for (const { name, bandwidthBytesPerSecond } of config.upstreams.values()) {
    if (bandwidthBytesPerSecond === 0) continue;
    sentences.push(
      `upstreams.${name}.bandwidth is set, but limiting it is not built yet: ${name} is read at full speed`,
    );
  }
  return sentences;
}

function registryUrlOf(name: string): string {
  return `https://${name === 'docker.io' ? 'registry-1.docker.io' : name}`;
}

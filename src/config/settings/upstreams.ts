import { z } from 'zod';
import { canonicalRegistry } from '../../oci/reference.ts';
import {
  always,
  needBoth,
  needConnections,
  needDistinctNames,
  needOneLogin,
} from '../contradictions.ts';
import {
  duration,
  durationOrForever,
  findRegistryName,
  flag,
  host,
  integer,
  proxy,
  rate,
  registryUrl,
  secret,
  text,
  timeout,
} from '../scalars.ts';

/** What is mirrored when the file names no upstreams. */
export const builtInUpstreams = [
  'docker.io',
  'ghcr.io',
  'quay.io',
  'gcr.io',
  'registry.k8s.io',
  'mcr.microsoft.com',
  'public.ecr.aws',
  'nvcr.io',
];

const timeouts = z
  .strictObject({
    connect: timeout.prefault('5s'),
    headers: timeout.prefault('20s'),
    idle: timeout.prefault('30s'),
    revalidate: timeout.prefault('2500ms'),
  })
  .transform((value) => ({
    connectMs: value.connect,
    headersMs: value.headers,
    idleMs: value.idle,
    revalidateMs: value.revalidate,
  }));

/** Certificates for another server, and whether to check its own. */
export const upstreamTls = z
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
    dockerConfig: text.optional(),
    credentialHelper: text.optional(),
    tagTtl: duration.prefault('1m'),
    maxStale: durationOrForever.prefault('forever'),
    onGone: z.enum(['serve', 'warn', 'deny']).prefault('serve'),
    onDenied: z.enum(['deny', 'serve']).prefault('deny'),
    negativeTtl: duration.prefault('30s'),
    readAhead: flag.prefault('true'),
    connectionsPerBlob: integer(1, 64).optional(),
    maxConnections: integer(1, 1024).prefault('32'),
    bandwidth: rate.prefault('0'),
    requestsPerSecond: integer(0, 100_000).prefault('0'),
    minRate: rate.prefault('1KiB'),
    timeouts: timeouts.prefault({}),
    offline: flag.prefault('false'),
    authHosts: z.array(host).prefault([]),
    redirectHosts: z.array(host).prefault([]),
    sendNamespace: flag.prefault('false'),
    proxy: proxy.optional(),
    tls: upstreamTls.optional(),
  })
  .superRefine((value, context) => {
    needBoth(value, 'username', 'password', context);
    needOneLogin(value, context);
    needConnections(value, context);
  }, always)
  .transform(({ tagTtl, maxStale, negativeTtl, bandwidth, minRate, ...rest }) => ({
    ...rest,
    connectionsPerBlob:
      rest.connectionsPerBlob ?? Math.min(connectionsPerBlobDefault, rest.maxConnections),
    tagTtlMs: tagTtl,
    maxStaleMs: maxStale,
    negativeTtlMs: negativeTtl,
    bandwidthBytesPerSecond: bandwidth,
    minRateBytesPerSecond: minRate,
  }));

/** The registries that are mirrored, by name. */
export const upstreams = z
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

function registryUrlOf(name: string): string {
  return `https://${name === 'docker.io' ? 'registry-1.docker.io' : name}`;
}

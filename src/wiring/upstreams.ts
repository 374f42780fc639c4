import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { readSecret } from '../config/load.ts';
import type { Config, UpstreamConfig } from '../config/schema.ts';
import type { MirroredUpstream } from '../mirror/mirrored-upstream.ts';
import { PrimaryFirst } from '../mirror/primary-first.ts';
import { RememberingUpstream } from '../mirror/remembering-upstream.ts';
import { accountKey } from '../upstream/account.ts';
import { dockerConfigCredentials } from '../upstream/credentials/docker-config.ts';
import { findWithHelper, rememberedRuns, runHelper } from '../upstream/credentials/helper.ts';
import type { Examinable } from '../upstream/examination/upstream.ts';
import { Connections } from '../upstream/network/connections.ts';
import { proxyPolicy } from '../upstream/network/proxies.ts';
import { Resolver } from '../upstream/network/resolver.ts';
import { RegistryClient } from '../upstream/registry-client.ts';
import type { Credentials } from '../upstream/tokens.ts';
import { Transport } from '../upstream/transport.ts';
import { openPrimary, type OpenPrimary } from './primary.ts';
import { tlsOf, type UpstreamSurroundings } from './surroundings.ts';

export interface OpenUpstreams {
  readonly byName: ReadonlyMap<string, MirroredUpstream>;
  /** The same, as the doctor looks at them. */
  readonly examinable: readonly Examinable[];
  /** The primary site, when there is one. */
  readonly primary: OpenPrimary | undefined;
  close(): Promise<void>;
}

/**
 * The upstreams of a configuration, ready to be asked.
 * @throws Error when a certificate file cannot be read
 */
export async function openUpstreams(
  config: Config,
  around: UpstreamSurroundings,
): Promise<OpenUpstreams> {
  const resolver = new Resolver(around.clock);
  const transports: Transport[] = [];
  const byName = new Map<string, MirroredUpstream>();
  const primary = await openPrimary(config, resolver, around);
  const examinable: Examinable[] = [];
  for (const [registry, settings] of config.upstreams) {
    const credentials = credentialsOf(settings, around);
    const isOffline = config.offline || settings.offline;
    const tls = tlsOf(settings);
    // What cannot be read is said now, not at the first pull.
    await tls();
    const proxyFor = proxyPolicy(settings.proxy, around.env);
    const connections = new Connections({
      resolver,
      proxyFor,
      tls,
      maxConnections: settings.maxConnections,
      connectTimeoutMs: settings.timeouts.connectMs,
      headersTimeoutMs: settings.timeouts.headersMs,
    });
    const transport = new Transport({
      registry,
      urls: settings.urls,
      authHosts: settings.authHosts,
      redirectHosts: settings.redirectHosts,
      isOffline,
      sendsNamespace: settings.sendNamespace,
      credentials,
      connections,
      maxConnections: settings.maxConnections,
      requestsPerSecond: settings.requestsPerSecond,
      headersTimeoutMs: settings.timeouts.headersMs,
      bodyBufferBytes: bodyBufferBytes(settings.bandwidthBytesPerSecond),
      userAgent: `entrepot/${around.version}`,
      clock: around.clock,
      observe: around.observe,
    });
    transports.push(transport);
    const client = new RegistryClient(registry, transport);
    examinable.push({
      upstream: client,
      urls: settings.urls,
      isOffline: config.offline || settings.offline,
      resolver,
      proxyFor,
      tls,
      account: async () => (await credentials())?.username,
      clock: around.clock,
      ping: (url) => transport.ping(url),
    });
    const source =
      primary === undefined
        ? client
        : new PrimaryFirst(primary.upstreamFor(registry, transports), client);
    const upstream = new RememberingUpstream(source, {
      account: async () => accountKey(await credentials()),
      links: around.links,
      clock: around.clock,
      observe: around.observe,
      ttlMs: settings.negativeTtlMs,
    });
    byName.set(registry, mirrored(upstream, settings, isOffline, around.clock));
  }
  return {
    byName,
    examinable,
    primary,
    close: async () => {
      await primary?.close();
      await Promise.all(transports.map((transport) => transport.close()));
    },
  };
}

/** Secrets are read at each use: a rotated one is picked up by itself. */
function credentialsOf(
  settings: UpstreamConfig,
  { env, clock }: UpstreamSurroundings,
): () => Promise<Credentials | undefined> {
  const { name, username, password, dockerConfig, credentialHelper } = settings;
  if (dockerConfig !== undefined) {
    const path = atHome(dockerConfig);
    return dockerConfigCredentials({ path, registry: name, run: rememberedRuns(runHelper, clock) });
  }
  if (credentialHelper !== undefined) {
    const run = rememberedRuns(runHelper, clock);
    return () => findWithHelper(credentialHelper, name, run);
  }
  return async () => {
    if (username === undefined || password === undefined) return undefined;
    return { username, password: await readSecret(password, env) };
  };
}

function atHome(path: string): string {
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : path;
}

/** What a connection reads ahead of the limit: a hundredth of a second's worth; large is cheap. */
function bodyBufferBytes(bandwidth: number): number {
  const most = 1024 * 1024;
  return bandwidth === 0 ? most : Math.min(most, Math.max(64 * 1024, Math.round(bandwidth / 100)));
}

function mirrored(
  upstream: MirroredUpstream['upstream'],
  settings: UpstreamConfig,
  isOffline: boolean,
  clock: Clock,
): MirroredUpstream {
  const { bandwidthBytesPerSecond } = settings;
  return {
    upstream,
    fill: {
      connectionsPerBlob: settings.connectionsPerBlob,
      idleTimeoutMs: settings.timeouts.idleMs,
      minBytesPerSecond: settings.minRateBytesPerSecond,
      bandwidth:
        bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
    },
    tags: settings,
    revalidateTimeoutMs: settings.timeouts.revalidateMs,
    isOffline,
    readAhead: settings.readAhead,
  };
}

import { homedir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { ClientsFirst } from '../base/clients-first.ts';
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
import type { Upstream } from '../upstream/upstream.ts';
import { openPrimary, type OpenPrimary } from './primary.ts';
import { tlsOf, type UpstreamSurroundings } from './surroundings.ts';

/** One upstream, with the settings that it was opened by. */
interface OpenUpstream {
  readonly settings: UpstreamConfig;
  readonly isOffline: boolean;
  readonly transport: Transport;
  readonly mirrored: MirroredUpstream;
  readonly examinable: Examinable;
}

/** How often it is looked whether an upstream that was replaced is still used. */
const retiredLookMs = 60_000;

/** Between two tries of a transfer there is no request, but never for so long. */
const idleLooksMin = 3;

/**
 * The upstreams of a configuration, ready to be asked. With another configuration, those of which a
 * setting has changed are opened anew; the others keep what they know: connections, tokens, quotas,
 * outages. What has begun with an upstream that is replaced ends with it.
 */
export class OpenUpstreams {
  readonly #around: UpstreamSurroundings;
  readonly #resolver: Resolver;
  readonly #open = new Map<string, OpenUpstream>();
  readonly #byName = new Map<string, MirroredUpstream>();
  readonly #fromPrimary = new Map<string, Upstream>();
  readonly #toPrimary: Transport[] = [];
  /** Replaced and perhaps in use; the value stops looking whether. */
  readonly #retired = new Map<Transport, () => void>();
  #primary: OpenPrimary | undefined;

  private constructor(around: UpstreamSurroundings) {
    this.#around = around;
    this.#resolver = new Resolver(around.clock);
  }

  /** @throws Error when a certificate file cannot be read */
  static async open(config: Config, around: UpstreamSurroundings): Promise<OpenUpstreams> {
    const upstreams = new OpenUpstreams(around);
    upstreams.#primary = await openPrimary(config, upstreams.#resolver, around);
    const commit = await upstreams.prepare(config);
    commit();
    return upstreams;
  }

  /** In the order of the configuration; always those of the one in effect. */
  get byName(): ReadonlyMap<string, MirroredUpstream> {
    return this.#byName;
  }

  /** The same, as the doctor looks at them. */
  get examinable(): readonly Examinable[] {
    return Array.from(this.#open.values(), ({ examinable }) => examinable);
  }

  /** The primary site, when there is one. */
  get primary(): OpenPrimary | undefined {
    return this.#primary;
  }

  /** @throws Error when a certificate file cannot be read; nothing has changed then */
  readonly prepare = async (config: Config): Promise<() => void> => {
    const next = new Map<string, OpenUpstream>();
    for (const [registry, settings] of config.upstreams) {
      const isOffline = config.offline || settings.offline;
      const known = this.#open.get(registry);
      const isSame = known?.isOffline === isOffline && isDeepStrictEqual(known.settings, settings);
      next.set(registry, isSame ? known : await this.#openOne(registry, settings, isOffline));
    }
    return () => {
      for (const [registry, { transport }] of this.#open) {
        if (next.get(registry)?.transport !== transport) this.#retire(transport);
      }
      this.#open.clear();
      this.#byName.clear();
      for (const [registry, one] of next) {
        this.#open.set(registry, one);
        this.#byName.set(registry, one.mirrored);
      }
    };
  };

  async close(): Promise<void> {
    for (const stopLooking of this.#retired.values()) stopLooking();
    const transports = [
      ...Array.from(this.#open.values(), ({ transport }) => transport),
      ...this.#retired.keys(),
      ...this.#toPrimary,
    ];
    await this.#primary?.close();
    await Promise.all(transports.map((transport) => transport.close()));
  }

  async #openOne(
    registry: string,
    settings: UpstreamConfig,
    isOffline: boolean,
  ): Promise<OpenUpstream> {
    const { env, version, clock, observe, links } = this.#around;
    const credentials = credentialsOf(settings, this.#around);
    const tls = tlsOf(settings);
    // What cannot be read is said now, not at the first pull.
    await tls();
    const resolver = this.#resolver;
    const proxyFor = proxyPolicy(settings.proxy, env);
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
      userAgent: `entrepot/${version}`,
      clock,
      observe,
    });
    const client = new RegistryClient(registry, transport);
    const primary = this.#primaryFor(registry);
    const upstream = new RememberingUpstream(
      primary === undefined ? client : new PrimaryFirst(primary, client),
      {
        account: async () => accountKey(await credentials()),
        links,
        clock,
        observe,
        ttlMs: settings.negativeTtlMs,
      },
    );
    return {
      settings,
      isOffline,
      transport,
      mirrored: mirrored(upstream, settings, isOffline, clock),
      examinable: {
        upstream: client,
        urls: settings.urls,
        isOffline,
        resolver,
        proxyFor,
        tls,
        account: async () => (await credentials())?.username,
        clock,
        ping: (url) => transport.ping(url),
      },
    };
  }

  #primaryFor(registry: string): Upstream | undefined {
    const known = this.#fromPrimary.get(registry);
    if (known !== undefined || this.#primary === undefined) return known;
    const upstream = this.#primary.upstreamFor(registry, this.#toPrimary);
    this.#fromPrimary.set(registry, upstream);
    return upstream;
  }

  /** Closes it once nothing has been asked of it for a while. */
  #retire(transport: Transport): void {
    let idleLooks = 0;
    const looking = setInterval(() => {
      idleLooks = transport.isIdle ? idleLooks + 1 : 0;
      if (idleLooks < idleLooksMin) return;
      clearInterval(looking);
      this.#retired.delete(transport);
      void transport.close();
    }, retiredLookMs).unref();
    this.#retired.set(transport, () => clearInterval(looking));
  }
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
      clientsFirst: bandwidthBytesPerSecond === 0 ? new ClientsFirst(clock) : undefined,
      bandwidth:
        bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
    },
    tags: settings,
    headersTimeoutMs: settings.timeouts.headersMs,
    revalidateTimeoutMs: settings.timeouts.revalidateMs,
    isOffline,
    readAhead: settings.readAhead,
  };
}

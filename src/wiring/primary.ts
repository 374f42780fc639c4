import { readSecret } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { Connections } from '../upstream/network/connections.ts';
import { proxyPolicy } from '../upstream/network/proxies.ts';
import type { Resolver } from '../upstream/network/resolver.ts';
import { PrimaryAdmin } from '../upstream/primary/admin.ts';
import { RegistryClient } from '../upstream/registry-client.ts';
import { Transport } from '../upstream/transport.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { tlsOf, type UpstreamSurroundings } from './surroundings.ts';

/** The primary site as this one reaches it. It is never shown a login of an upstream. */
export interface OpenPrimary {
  readonly url: string;
  /** Undefined when the primary is a plain registry. */
  readonly admin: PrimaryAdmin | undefined;
  /** The primary as a place of that registry's content; its transport is added to those to be closed. */
  upstreamFor(registry: string, transports: Transport[]): Upstream;
  /** The same, once `upstreamFor` was called. */
  find(registry: string): RegistryClient | undefined;
  close(): Promise<void>;
}

const connectTimeoutMs = 5_000;
const headersTimeoutMs = 20_000;

/** Connections to the primary in all; an upstream's share of them is not divided further. */
const maxConnections = 32;

export async function openPrimary(
  { site }: Config,
  resolver: Resolver,
  around: UpstreamSurroundings,
): Promise<OpenPrimary | undefined> {
  if (site?.primary === undefined) return undefined;
  const { url, admin, token, tls } = site.primary;
  const tlsMaterial = tlsOf({ tls });
  // What cannot be read is said now, not at the first pull.
  await tlsMaterial();
  const newConnections = (): Connections =>
    new Connections({
      resolver,
      proxyFor: proxyPolicy(undefined, around.env),
      tls: tlsMaterial,
      maxConnections,
      connectTimeoutMs,
      headersTimeoutMs,
    });
  const adminConnections = newConnections();
  const clients = new Map<string, RegistryClient>();
  return {
    url,
    admin:
      admin === undefined
        ? undefined
        : new PrimaryAdmin({
            url: admin,
            connections: adminConnections,
            token: async () =>
              token === undefined ? undefined : await readSecret(token, around.env),
          }),
    upstreamFor: (registry, transports) => {
      // Another Entrepot reads the upstream's name from the path; a plain registry has its own names.
      const base = admin === undefined ? url : `${url}/${registry}`;
      const transport = new Transport({
        registry,
        urls: [base],
        authHosts: [],
        redirectHosts: [],
        isOffline: false,
        sendsNamespace: false,
        credentials: () => Promise.resolve(undefined),
        connections: newConnections(),
        maxConnections,
        requestsPerSecond: 0,
        headersTimeoutMs,
        bodyBufferBytes: 1024 * 1024,
        userAgent: `entrepot/${around.version}`,
        clock: around.clock,
        observe: around.observe,
      });
      transports.push(transport);
      const client = new RegistryClient(registry, transport);
      clients.set(registry, client);
      return client;
    },
    find: (registry) => clients.get(registry),
    close: () => adminConnections.close(),
  };
}

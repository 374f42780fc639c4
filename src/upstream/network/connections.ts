import { isIP, type LookupFunction } from 'node:net';
import tls from 'node:tls';
import { Agent, buildConnector, ProxyAgent, type Dispatcher } from 'undici';
import { Addresses, isPrivateName } from './addresses.ts';
import { addressesAllowed, type Trust } from './destinations.ts';
import type { ProxyFor } from './proxies.ts';
import type { Resolver } from './resolver.ts';

/** Certificates for the upstream's own servers, PEM; read again for each new connection. */
export interface TlsMaterial {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly insecure: boolean;
}

export interface ConnectionOptions {
  readonly resolver: Resolver;
  readonly proxyFor: ProxyFor;
  readonly tls: () => Promise<TlsMaterial>;
  /** A server and trust, at a time. */
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
}

/**
 * The headers of one answer. Clients written in Go take 10 MiB where undici takes 16 KiB, which the
 * cookies and security policies of a portal in front of a registry exceed.
 */
const headerBytesMax = 256 * 1024;

/** An address that an answer of upstream named, and that nothing is sent to. */
export class RefusedAddress extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RefusedAddress';
  }
}

/**
 * Connections of one upstream. Names are resolved here, the address that was checked is the one that is
 * connected to (so a name that changes its mind meanwhile leads nowhere else), and client certificates
 * are shown to the upstream's own servers only.
 */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #addresses = new Addresses();
  readonly #agents = new Map<Trust, Agent>();
  readonly #proxyAgents = new Map<string, { agent: ProxyAgent; material: TlsMaterial }>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /**
   * What sends a request there.
   * @throws RefusedAddress when the host is an address that this trust does not cover; one that is
   *   found out after DNS comes as the request's error
   */
  async dispatcherFor(target: URL, trust: Trust): Promise<Dispatcher> {
    const host = bare(target.hostname);
    if (isIP(host) !== 0) this.#check(host, host, trust);
    const proxy = this.#options.proxyFor(target);
    if (proxy !== undefined) {
      if (trust === 'public' && isPrivateName(host)) {
        throw new RefusedAddress(`${host} is a name of a private network`);
      }
      return this.#proxyAgentFor(proxy, trust);
    }
    const known = this.#agents.get(trust);
    if (known !== undefined) return known;
    const agent = this.#agent(trust);
    this.#agents.set(trust, agent);
    return agent;
  }

  async close(): Promise<void> {
    const proxyAgents = [...this.#proxyAgents.values()].map(({ agent }) => agent);
    await Promise.all([...this.#agents.values(), ...proxyAgents].map((agent) => agent.destroy()));
  }

  #agent(trust: Trust): Agent {
    const lookup = this.#lookup(trust);
    let material: TlsMaterial | undefined;
    let connector: buildConnector.connector | undefined;
    return new Agent({
      ...this.#limits(),
      connect: (target, callback) => {
        this.#tlsFor(trust).then(
          (now) => {
            if (connector === undefined || !isSame(now, material)) {
              material = now;
              connector = buildConnector({
                timeout: this.#options.connectTimeoutMs,
                allowH2: false,
                autoSelectFamily: true,
                lookup,
                ...tlsOptions(now),
              });
            }
            connector(target, callback);
          },
          (error: unknown) => {
            callback(error instanceof Error ? error : new Error(String(error)), null);
          },
        );
      },
    });
  }

  /**
   * A proxy finds the address by itself: what a name leads to cannot be checked here, and the operator's
   * proxy decides. Certificates that have changed make a new agent; the old one ends with its requests.
   */
  async #proxyAgentFor(proxy: URL, trust: Trust): Promise<ProxyAgent> {
    const material = await this.#tlsFor(trust);
    const key = `${trust} ${proxy.href}`;
    const known = this.#proxyAgents.get(key);
    if (known !== undefined && isSame(material, known.material)) return known.agent;
    const agent = this.#proxyAgent(proxy, material);
    this.#proxyAgents.set(key, { agent, material });
    known?.agent.close().catch(() => {});
    return agent;
  }

  #proxyAgent(proxy: URL, material: TlsMaterial): ProxyAgent {
    const { username, password } = proxy;
    const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    const timeout = this.#options.connectTimeoutMs;
    const lookup = this.#lookup('own');
    return new ProxyAgent({
      ...this.#limits(),
      uri: `${proxy.protocol}//${proxy.host}`,
      // Plain http goes to the proxy as it is: many allow CONNECT to port 443 only.
      proxyTunnel: false,
      proxyTls: { timeout, autoSelectFamily: true, lookup },
      requestTls: { timeout, ...tlsOptions(material) },
      ...(username === '' ? {} : { token: `Basic ${Buffer.from(login).toString('base64')}` }),
    });
  }

  #limits(): Pick<
    Agent.Options,
    'allowH2' | 'pipelining' | 'connections' | 'headersTimeout' | 'maxHeaderSize'
  > {
    return {
      // One large body 100 ms away runs at 2.5 MB/s over HTTP/2 and at 187 MB/s over HTTP/1.1.
      allowH2: false,
      pipelining: 1,
      connections: this.#options.maxConnections,
      headersTimeout: this.#options.headersTimeoutMs,
      maxHeaderSize: headerBytesMax,
    };
  }

  /**
   * The operator's authorities are believed in the upstream's own domain too, where its token server and
   * its storage may have certificates of the same house. Who we are is shown to the upstream alone.
   */
  async #tlsFor(trust: Trust): Promise<TlsMaterial> {
    if (trust === 'public') return strangers;
    const material = await this.#options.tls();
    return trust === 'own' ? material : { ca: material.ca, insecure: material.insecure };
  }

  #lookup(trust: Trust): LookupFunction {
    return (hostname, { all, family }, callback) => {
      this.#options.resolver.addressesOf(hostname).then(
        (addresses) => {
          try {
            for (const { address } of addresses) this.#check(hostname, address, trust);
          } catch (error) {
            callback(error as RefusedAddress, []);
            return;
          }
          const usable = addresses.filter((one) => !family || one.family === family);
          const [first] = usable.length > 0 ? usable : addresses;
          if (all === true) callback(null, [...(usable.length > 0 ? usable : addresses)]);
          else callback(null, first?.address ?? '', first?.family);
        },
        (error: NodeJS.ErrnoException) => callback(error, []),
      );
    };
  }

  #check(host: string, address: string, trust: Trust): void {
    if (addressesAllowed[trust].has(this.#addresses.kindOf(address))) return;
    const where = host === address ? host : `${host} is at ${address}, which`;
    throw new RefusedAddress(`${where} is not an address on the internet`);
  }
}

interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string[];
  readonly cert?: string;
  readonly key?: string;
}

const strangers: TlsMaterial = { insecure: false };

function tlsOptions({ ca, cert, key, insecure }: TlsMaterial): TlsOptions {
  return {
    rejectUnauthorized: !insecure,
    // Beside the authorities of the system: redirects go to hosts of the wide world too.
    ...(ca === undefined ? {} : { ca: [...tls.getCACertificates('default'), ca] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function isSame(a: TlsMaterial, b: TlsMaterial | undefined): boolean {
  return a.ca === b?.ca && a.cert === b?.cert && a.key === b?.key && a.insecure === b?.insecure;
}

function bare(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

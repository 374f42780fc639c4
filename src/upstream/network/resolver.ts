import dns from 'node:dns';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import { Limiter } from '../../base/limiter.ts';

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

/** Asks the network for the addresses of a name; a test replaces it. */
export type AskDns = (
  hostname: string,
) => Promise<{ readonly addresses: readonly Address[]; readonly ttlSeconds: number }>;

/** Names that are remembered; a mirror has a few dozen upstreams, token servers and CDNs. */
const namesMax = 1_000;

/** However short or long an answer wants to live. */
const ttlSeconds = { least: 1, most: 60 };

/** A name that fails is asked again after this; until then its last addresses are used, if there are any. */
const failureMs = 2_000;

/** How long the name servers may be silent before the addresses of last time are used. */
const patienceMs = 1_000;

/** RFC 8305, 3: when one family is known, how long the other is waited for. */
const otherFamilyMs = 50;

/** How often the hosts file is looked at. */
const hostsFileMs = 5_000;

interface Remembered {
  readonly addresses: readonly Address[];
  readonly untilMs: number;
  readonly error?: Error;
}

/**
 * Names to addresses, without the threads that serve files: `getaddrinfo` would hold one of them for
 * as long as a name server is silent. The hosts file comes first; each name is asked for once, however
 * many wait; while the name servers fail or are silent, the addresses that they gave last are used on.
 */
export class Resolver {
  readonly #clock: Clock;
  readonly #ask: AskDns;
  readonly #hostsFile: string;
  readonly #names = new Map<string, Remembered>();
  readonly #asking = new Map<string, Promise<readonly Address[]>>();
  #hosts: ReadonlyMap<string, readonly Address[]> = new Map();
  #hostsReadMs = -Infinity;

  constructor(clock: Clock, ask: AskDns = systemDns(), hostsFile = '/etc/hosts') {
    this.#clock = clock;
    this.#ask = ask;
    this.#hostsFile = hostsFile;
  }

  /**
   * The addresses of a host, at least one.
   * @throws Error with the resolver's `code`, such as ENOTFOUND
   */
  async addressesOf(hostname: string): Promise<readonly Address[]> {
    const name = hostname.toLowerCase().replace(/\.$/, '');
    const family = isIP(name);
    if (family !== 0) return [{ address: name, family: familyOf(family) }];
    // RFC 6761, 6.3: it never leaves this machine, whatever a hosts file leaves out.
    const own = (await this.#fromHosts(name)) ?? (isLocalhost(name) ? loopback : undefined);
    if (own !== undefined) return own;
    const kept = this.#names.get(name);
    if (kept !== undefined && this.#clock.monotonicMs() < kept.untilMs) {
      if (kept.addresses.length === 0) throw kept.error ?? new Error(`${name} has no address`);
      return kept.addresses;
    }
    const asking = this.#asking.get(name) ?? this.#start(name, kept);
    if (kept === undefined || kept.addresses.length === 0) return asking;
    // Name servers that failed the last time are asked beside the requests.
    if (kept.error !== undefined) return kept.addresses;
    return Promise.race([asking, sleep(patienceMs, kept.addresses, { ref: false })]);
  }

  /** Asks once for all who want that name; a failure nobody waits for is remembered all the same. */
  #start(name: string, kept: Remembered | undefined): Promise<readonly Address[]> {
    const asking = this.#find(name, kept).finally(() => this.#asking.delete(name));
    asking.catch(() => {});
    this.#asking.set(name, asking);
    return asking;
  }

  async #find(name: string, before: Remembered | undefined): Promise<readonly Address[]> {
    try {
      const { addresses, ttlSeconds: ttl } = await this.#ask(name);
      const seconds = Math.min(Math.max(ttl, ttlSeconds.least), ttlSeconds.most);
      this.#keep(name, { addresses, untilMs: this.#clock.monotonicMs() + seconds * 1000 });
      return addresses;
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause));
      const addresses = before?.addresses ?? [];
      this.#keep(name, { addresses, error, untilMs: this.#clock.monotonicMs() + failureMs });
      if (addresses.length === 0) throw error;
      return addresses;
    }
  }

  #keep(name: string, remembered: Remembered): void {
    this.#names.delete(name);
    this.#names.set(name, remembered);
    const [oldest] = this.#names.keys();
    if (this.#names.size > namesMax && oldest !== undefined) this.#names.delete(oldest);
  }

  async #fromHosts(name: string): Promise<readonly Address[] | undefined> {
    const now = this.#clock.monotonicMs();
    if (now - this.#hostsReadMs > hostsFileMs) {
      this.#hostsReadMs = now;
      this.#hosts = parseHosts(await readFile(this.#hostsFile, 'utf8').catch(() => ''));
    }
    return this.#hosts.get(name);
  }
}

const loopback: readonly Address[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
];

function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}

/** hosts(5): an address, then its names; `#` begins a comment. */
export function parseHosts(text: string): Map<string, Address[]> {
  const hosts = new Map<string, Address[]>();
  for (const line of text.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    const family = isIP(address);
    if (family === 0) continue;
    for (const name of names) {
      const key = name.toLowerCase();
      const addresses = hosts.get(key) ?? [];
      addresses.push({ address, family: familyOf(family) });
      hosts.set(key, addresses);
    }
  }
  return hosts;
}

/**
 * The name servers of the system, by c-ares, both families at once. A name that they don't know may be
 * one that only the system's search list completes (as in Kubernetes): that is asked of the system, in
 * a file thread, one name at a time. Never while the name servers are silent: the system would wait for
 * them, too, and hold the thread.
 */
function systemDns(): AskDns {
  const turns = new Limiter(1, namesMax);
  return async (hostname) => {
    const answer = await askNameServers(hostname);
    if (!(answer instanceof Error)) return answer;
    if (!unknownCodes.has((answer as NodeJS.ErrnoException).code ?? '')) throw answer;
    const release = await turns.acquire(() => 'client', undefined);
    try {
      const system = await dns.promises.lookup(hostname, { all: true });
      const addresses = system.map(({ address, family }) => ({
        address,
        family: familyOf(family),
      }));
      return { addresses, ttlSeconds: ttlSeconds.least * 10 };
    } finally {
      release?.();
    }
  };
}

/** They answered that there is no such name or address, or there are none at all. */
const unknownCodes: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA', 'ECONNREFUSED']);

async function askNameServers(hostname: string): Promise<Awaited<ReturnType<AskDns>> | Error> {
  const resolver = new dns.promises.Resolver({ timeout: 2_000, tries: 2 });
  const asked = [
    resolver.resolve4(hostname, { ttl: true }),
    resolver.resolve6(hostname, { ttl: true }),
  ];
  const both = Promise.allSettled(asked);
  const oneAndABit = Promise.any(asked).then(
    () => sleep(otherFamilyMs),
    () => both,
  );
  await Promise.race([both, oneAndABit]);
  resolver.cancel();
  const outcomes = await both;
  const found = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' ? outcome.value : [],
  );
  if (found.length > 0) {
    const addresses = found.map(({ address }) => ({ address, family: familyOf(isIP(address)) }));
    return { addresses, ttlSeconds: Math.min(...found.map(({ ttl }) => ttl)) };
  }
  const errors = outcomes.flatMap((outcome): Error[] =>
    outcome.status === 'rejected' && outcome.reason instanceof Error ? [outcome.reason] : [],
  );
  // One family that is unknown beside one that is silent says nothing of the name.
  const silent = errors.find(({ code }: NodeJS.ErrnoException) => !unknownCodes.has(code ?? ''));
  return silent ?? errors[0] ?? new Error(`${hostname} has no address`);
}

function familyOf(number: number): 4 | 6 {
  return number === 6 ? 6 : 4;
}

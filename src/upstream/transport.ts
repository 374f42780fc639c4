import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import { Limiter, type Priority } from '../base/limiter.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { MirrorError } from '../oci/errors.ts';
import { accountName } from './account.ts';
import { Cooldown, type LimitedKind, type LimitPause } from './cooldown.ts';
import { Endpoints, type Endpoint, type EndpointAnswer, type Question } from './endpoints.ts';
import { Exchange, type Answer, type Ask, type AskAs } from './exchange.ts';
import { Health } from './health.ts';
import type { Connections } from './network/connections.ts';
import { QuotaLedger, type Quota } from './quota.ts';
import { discard } from './read-body.ts';
import { realmPolicy } from './realm.ts';
import { TokenSource, type Credentials } from './tokens.ts';
import type { Wait } from './upstream.ts';

/** What an upstream is, as the transport needs it. It closes the connections. */
export interface TransportOptions {
  readonly registry: string;
  readonly urls: readonly string[];
  readonly authHosts: readonly string[];
  readonly redirectHosts: readonly string[];
  readonly credentials: () => Promise<Credentials | undefined>;
  /** Never called; everything is answered from the cache. */
  readonly isOffline: boolean;
  /** Says with `ns` whose content is wanted, to URLs that are mirrors of several registries. */
  readonly sendsNamespace: boolean;
  readonly connections: Connections;
  readonly maxConnections: number;
  /** 0: no limit. */
  readonly requestsPerSecond: number;
  readonly headersTimeoutMs: number;
  /** What is read of a body before its reader takes it: large is fast, small keeps a rate exact. */
  readonly bodyBufferBytes: number;
  readonly userAgent: string;
  readonly clock: Clock;
  readonly observe: Observe;
}

/** Requests that may wait for a connection; each is one small object and one client that waits. */
const queueMax = 10_000;

/**
 * Requests to one upstream: its URLs in order, authorization, redirects, limits and the memory of
 * outages. A body that is answered must be read to its end or destroyed; it holds a connection.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #exchange: Exchange;
  readonly #endpoints: Endpoints;
  readonly #ledger: QuotaLedger;
  readonly #rate: TokenBucket | undefined;
  /** Blobs and the small questions wait in lines of their own: a manifest never stands behind layers. */
  readonly #blobs: Limiter;
  readonly #questions: Limiter;

  constructor(options: TransportOptions) {
    this.#options = options;
    const urls = options.urls.map((text) => new URL(text));
    const { registry, clock, observe, authHosts, redirectHosts, requestsPerSecond } = options;
    this.#ledger = new QuotaLedger(registry, clock, observe);
    this.#rate = requestsPerSecond === 0 ? undefined : new TokenBucket(requestsPerSecond, clock);
    this.#exchange = new Exchange({
      ...options,
      destinations: { urls, authHosts, redirectHosts },
      ledger: this.#ledger,
      rate: this.#rate,
    });
    const endpoints = urls.map((url) => {
      const isRealm = realmPolicy(url, authHosts);
      const tokens = new TokenSource({
        registry,
        credentials: options.credentials,
        clock,
        realmAllowed: (realm) => {
          if (isRealm(realm)) return true;
          this.refuse('token', realm.host, 'it is not a token server of that upstream');
          return false;
        },
        fetchToken: this.#exchange.fetchToken,
      });
      return { url, health: new Health(clock), cooldown: new Cooldown(clock), tokens };
    });
    this.#endpoints = new Endpoints(registry, endpoints, clock, observe);
    // One connection in eight is kept for manifests, tags and tokens.
    const questions = Math.max(1, options.maxConnections >> 3);
    this.#questions = new Limiter(questions, queueMax);
    this.#blobs = new Limiter(Math.max(1, options.maxConnections - questions), queueMax);
  }

  get isDown(): boolean {
    return this.#options.isOffline || this.#endpoints.areDown;
  }

  /** Nothing is asked at the moment, and nobody waits to. */
  get isIdle(): boolean {
    return [this.#blobs, this.#questions].every(({ running, waiting }) => running + waiting === 0);
  }

  /** What each account used and has left. */
  get quotas(): readonly Quota[] {
    return this.#ledger.quotas;
  }

  get pauses(): readonly LimitPause[] {
    return this.#endpoints.pauses;
  }

  /** Answers whatever upstream says below 500, but for 429; redirects and one 401 are dealt with. */
  async ask(ask: Ask, wait: Wait): Promise<EndpointAnswer> {
    if (this.#options.isOffline) {
      throw new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${this.#options.registry} is set to offline and never asked`,
      );
    }
    const limiter = ask.what === 'blob' ? this.#blobs : this.#questions;
    const priority = wait.priority ?? ((): Priority => 'client');
    const release = await limiter.acquire(priority, wait.signal);
    if (release === undefined) {
      throw new MirrorError(
        'OVERLOADED',
        `too many requests already wait for a connection to ${this.#options.registry}`,
        { retryAfterSeconds: 5 },
      );
    }
    try {
      const credentials = await this.#credentials();
      const asked = { ...this.#named(ask), account: accountName(credentials) };
      const answer = await this.#endpoints.inOrder(questionOf(ask, wait), credentials, (endpoint) =>
        this.#askEndpoint(endpoint, asked, wait),
      );
      if (answer.body.closed) release();
      else answer.body.once('close', release);
      return answer;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** `/v2/` of one URL, as it is; see `Exchange`. */
  ping(url: URL): ReturnType<Exchange['ping']> {
    return this.#exchange.ping(url);
  }

  /** Something that an answer named is not asked; see `upstream-refused`. */
  refuse(what: Ask['what'], host: string, message: string): MirrorError {
    return this.#exchange.refuse(what, host, message);
  }

  /** Whether an address is the registry's own, and not one that it sends to. */
  isOwn(url: URL): boolean {
    return this.#options.urls.some((text) => new URL(text).origin === url.origin);
  }

  async close(): Promise<void> {
    const closing = this.#options.connections.close();
    // Whoever waits to be sent fails at once then.
    this.#rate?.close();
    await closing;
  }

  #named(ask: Ask): Ask {
    // A link to the next page may have kept it.
    if (!this.#options.sendsNamespace || /[?&]ns=/.test(ask.path)) return ask;
    const separator = ask.path.includes('?') ? '&' : '?';
    const namespace = encodeURIComponent(this.#options.registry);
    return { ...ask, path: `${ask.path}${separator}ns=${namespace}` };
  }

  /** A login that cannot be read is an outage like any other: what is cached is served. */
  async #credentials(): Promise<Credentials | undefined> {
    try {
      return await this.#options.credentials();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${this.#options.registry} is not asked, because our login cannot be read: ${why}`,
        { cause },
      );
    }
  }

  async #askEndpoint(endpoint: Endpoint, ask: AskAs, wait: Wait): Promise<Answer> {
    const scope = scopeOf(ask);
    const first = await endpoint.tokens.authorizationFor(scope, wait.signal);
    const answer = await this.#exchange.follow(endpoint.url, ask, first, wait);
    if (answer.url.origin !== endpoint.url.origin) return answer;
    const second = await this.#authorizationAfter(endpoint, answer, scope, first, wait.signal);
    // It is refused then, or it was a HEAD of a registry that only wants GETs: its client knows.
    if (second === undefined) return answer;
    return this.#exchange.follow(endpoint.url, ask, second, wait);
  }

  /** What to send in place of what was refused; undefined when the answer stands. */
  async #authorizationAfter(
    { tokens }: Endpoint,
    { status, headers, body }: Answer,
    scope: string,
    refused: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const challenges = headerLines(headers['www-authenticate']);
    // Without a challenge only the body says whether a registry has refused it.
    if (status !== 403 && (status !== 401 || challenges.length === 0)) return undefined;
    discard(body);
    if (status === 401) return tokens.authorizationAfter(challenges, scope, refused, signal);
    // It may be the token's: its rights were those of the time when it was issued.
    return tokens.authorizationAnew(scope, refused, signal);
  }
}

function questionOf(ask: Ask, { signal }: Wait): Question {
  const { method, path, name, what } = ask;
  const isRead = method === 'GET' || method === 'HEAD';
  // Who fetches a blob goes on by itself where it breaks off.
  const isRepeatable = isRead && !(method === 'GET' && what === 'blob');
  const [resource = path] = path.split('?', 1);
  return { kind: kindOf(ask), name, resource, isRepeatable, signal };
}

function kindOf({ what, method }: Ask): LimitedKind {
  if (what === 'blob' || what === 'referrers') return what;
  return what === 'manifest' && method === 'GET' ? 'pull' : 'check';
}

function scopeOf({ name, access = 'pull' }: Ask): string {
  return `repository:${name}:${access}`;
}

function headerLines(value: string | string[] | undefined): string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

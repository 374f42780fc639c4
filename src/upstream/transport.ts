import type { IncomingHttpHeaders } from 'node:http';
import { Agent, type Dispatcher } from 'undici';
import type { Clock } from '../base/clock.ts';
import type { Event, Observe } from '../base/events.ts';
import { Limiter, type Priority } from '../base/limiter.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { MirrorError } from '../oci/errors.ts';
import { accountName } from './account.ts';
import { Breaker } from './breaker.ts';
import { Cooldown, type LimitedKind } from './cooldown.ts';
import { Endpoints, type Endpoint } from './endpoints.ts';
import { QuotaLedger, type Quota } from './quota.ts';
import { realmPolicy } from './realm.ts';
import { TokenSource, type Credentials, type FetchToken } from './tokens.ts';
import { readAtMost } from './read-body.ts';
import type { Wait } from './upstream.ts';

/** What an upstream is, as the transport needs it. */
export interface TransportOptions {
  readonly registry: string;
  readonly urls: readonly string[];
  readonly authHosts: readonly string[];
  readonly credentials: () => Promise<Credentials | undefined>;
  /** Never called; everything is answered from the cache. */
  readonly isOffline: boolean;
  readonly maxConnections: number;
  /** 0: no limit. */
  readonly requestsPerSecond: number;
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** What is read of a body before its reader takes it: large is fast, small keeps a rate exact. */
  readonly bodyBufferBytes: number;
  readonly tls: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
    readonly insecure: boolean;
  };
  readonly userAgent: string;
  readonly clock: Clock;
  readonly observe: Observe;
}

export interface Ask {
  readonly method: 'GET' | 'HEAD';
  /** Path and query below the upstream's URL, beginning with `/v2/`. */
  readonly path: string;
  /** The repository that the token must be for. */
  readonly name: string;
  readonly what: Extract<Event, { kind: 'upstream-answered' }>['what'];
  readonly headers: Readonly<Record<string, string>>;
}

/** An ask, and the name of the account that it is made for. */
interface AskAs extends Ask {
  readonly account: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Dispatcher.ResponseData['body'];
  /** Where the answer came from in the end, after redirects. */
  readonly url: URL;
}

const redirectsMax = 5;

/** Requests that may wait for a connection; each is one small object and one client that waits. */
const queueMax = 10_000;

const redirectStatuses = new Set([301, 302, 303, 307, 308]);

/**
 * Requests to one upstream: its URLs in order, authorization, redirects, limits and the memory of
 * outages. A body that is answered must be read to its end or destroyed; it holds a connection.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #agent: Agent;
  readonly #endpoints: Endpoints;
  readonly #ledger: QuotaLedger;
  /** Requests a second, tokens and redirects included; undefined: no limit. */
  readonly #rate: TokenBucket | undefined;
  /** Blobs and the small questions wait in lines of their own: a manifest never stands behind layers. */
  readonly #blobs: Limiter;
  readonly #questions: Limiter;

  constructor(options: TransportOptions) {
    this.#options = options;
    const { tls } = options;
    this.#agent = new Agent({
      // One large body 100 ms away runs at 2.5 MB/s over HTTP/2 and at 187 MB/s over HTTP/1.1.
      allowH2: false,
      pipelining: 1,
      connections: options.maxConnections,
      headersTimeout: options.headersTimeoutMs,
      connect: {
        timeout: options.connectTimeoutMs,
        rejectUnauthorized: !tls.insecure,
        ...(tls.ca === undefined ? {} : { ca: tls.ca }),
        ...(tls.cert === undefined ? {} : { cert: tls.cert }),
        ...(tls.key === undefined ? {} : { key: tls.key }),
      },
    });
    const { registry, clock, observe, requestsPerSecond } = options;
    this.#ledger = new QuotaLedger(registry, clock, observe);
    this.#rate = requestsPerSecond === 0 ? undefined : new TokenBucket(requestsPerSecond, clock);
    const endpoints = options.urls.map((text) => {
      const url = new URL(text);
      const tokens = new TokenSource({
        registry,
        credentials: options.credentials,
        clock,
        realmAllowed: realmPolicy(url, options.authHosts),
        fetchToken: (realm, headers, signal) => this.#fetchToken(realm, headers, signal),
      });
      return { url, breaker: new Breaker(clock), cooldown: new Cooldown(clock), tokens };
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

  /** What each account used and has left. */
  get quotas(): readonly Quota[] {
    return this.#ledger.quotas;
  }

  /** Answers whatever upstream says below 500, but for 429; redirects and one 401 are dealt with. */
  async ask(ask: Ask, wait: Wait): Promise<Answer> {
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
      const asked = { ...ask, account: accountName(credentials) };
      const answer = await this.#endpoints.inOrder(kindOf(ask), credentials, (endpoint) =>
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

  async close(): Promise<void> {
    await this.#agent.destroy();
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
    const scope = `repository:${ask.name}:pull`;
    const first = await endpoint.tokens.authorizationFor(scope, wait.signal);
    const answer = await this.#follow(endpoint, ask, first, wait);
    if (answer.status !== 401 || answer.url.origin !== endpoint.url.origin) return answer;
    const challenges = headerLines(answer.headers['www-authenticate']);
    discard(answer.body);
    const second = await endpoint.tokens.authorizationAfter(challenges, scope, first, wait.signal);
    // It is refused then, or it was a HEAD of a registry that only wants GETs: its client knows.
    if (second === undefined) return answer;
    return this.#follow(endpoint, ask, second, wait);
  }

  /** Redirects are followed by us, so clients never see a CDN and what comes is verified and kept. */
  async #follow(
    endpoint: Endpoint,
    ask: AskAs,
    authorization: string | undefined,
    wait: Wait,
  ): Promise<Answer> {
    const base = endpoint.url.pathname.replace(/\/$/, '');
    let url = new URL(base + ask.path, endpoint.url);
    for (let hop = 0; hop <= redirectsMax; hop += 1) {
      // A secret goes to the origin that it is for, whatever the redirects did before.
      const mayAuthorize = authorization !== undefined && url.origin === endpoint.url.origin;
      const headers = { ...ask.headers, ...(mayAuthorize ? { authorization } : {}) };
      const answer = await this.#send(url, ask, headers, wait);
      const location = answer.headers.location;
      if (!redirectStatuses.has(answer.status) || location === undefined)
        return this.#judge(answer, endpoint, ask);
      discard(answer.body);
      const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
      if (next === undefined || !/^https?:$/.test(next.protocol) || next.username !== '') {
        throw this.#invalid(
          `it redirects ${ask.what} requests to something that is no web address`,
        );
      }
      if (url.protocol === 'https:' && next.protocol === 'http:') {
        throw this.#invalid(`it redirects from https to plain http (${next.host})`);
      }
      url = next;
    }
    throw this.#invalid(`it redirects more than ${redirectsMax} times`);
  }

  async #send(
    url: URL,
    ask: Ask,
    headers: Readonly<Record<string, string>>,
    wait: Wait,
  ): Promise<Answer> {
    await this.#rate?.take(1, wait.priority ?? ((): Priority => 'client'), wait.signal);
    const startMs = this.#options.clock.monotonicMs();
    let response: Dispatcher.ResponseData;
    try {
      response = await this.#agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: ask.method,
        headers: {
          'user-agent': this.#options.userAgent,
          'accept-encoding': 'identity',
          ...headers,
        },
        signal: wait.signal ?? null,
        headersTimeout: wait.headersTimeoutMs ?? this.#options.headersTimeoutMs,
        // The idle time of a blob is watched by its fill, which can resume; the others cannot.
        bodyTimeout: ask.what === 'blob' ? 0 : this.#options.headersTimeoutMs,
        highWaterMark: this.#options.bodyBufferBytes,
      });
    } catch (cause) {
      if (wait.signal?.aborted === true) throw wait.signal.reason;
      throw this.#unreachable(url, cause);
    }
    // Whoever stops reading ends the connection; that is no error of anybody's.
    response.body.on('error', () => {});
    this.#options.observe({
      kind: 'upstream-answered',
      registry: this.#options.registry,
      // Signed URLs carry a secret in their query.
      url: url.origin + url.pathname,
      method: ask.method,
      what: ask.what,
      status: response.statusCode,
      durationMs: this.#options.clock.monotonicMs() - startMs,
    });
    return { status: response.statusCode, headers: response.headers, body: response.body, url };
  }

  #judge(answer: Answer, endpoint: Endpoint, ask: AskAs): Answer {
    const { registry } = this.#options;
    const isManifest = ask.what === 'manifest' && answer.status === 200;
    const counts = ask.method === 'GET' ? 'pull' : 'check';
    // Of the quota only the registry itself knows, whatever a host says that it redirects to.
    const headers = answer.url.origin === endpoint.url.origin ? answer.headers : {};
    this.#ledger.note(ask.account, isManifest ? counts : 'other', headers);
    if (answer.status === 429) {
      discard(answer.body);
      const seconds = retryAfterSeconds(answer.headers, this.#options.clock);
      throw new MirrorError(
        'UPSTREAM_LIMITED',
        `upstream ${registry} limits our requests (429)`,
        seconds === undefined ? {} : { retryAfterSeconds: seconds },
      );
    }
    // 501 says that upstream does not know the method, and is no outage.
    if (answer.status >= 500 && answer.status !== 501) {
      discard(answer.body);
      const retryAfter = retryAfterSeconds(answer.headers, this.#options.clock);
      throw new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `upstream ${registry} answered ${answer.status}`,
        retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter },
      );
    }
    return answer;
  }

  async #fetchToken(
    realm: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): ReturnType<FetchToken> {
    const ask: Ask = { method: 'GET', path: '', name: '', what: 'token', headers: {} };
    const answer = await this.#send(new URL(realm), ask, headers, { signal });
    return {
      status: answer.status,
      body: await readAtMost(answer.body, 1024 * 1024, 'a token answer'),
      retryAfterSeconds: retryAfterSeconds(answer.headers, this.#options.clock),
    };
  }

  #observe(event: Event): void {
    this.#options.observe(event);
  }

  #unreachable(url: URL, cause: unknown): MirrorError {
    const why = cause instanceof Error ? cause.message : String(cause);
    const { registry } = this.#options;
    this.#observe({ kind: 'upstream-unreachable', registry, url: url.origin, message: why });
    return new MirrorError(
      'UPSTREAM_UNAVAILABLE',
      `upstream ${registry} cannot be reached at ${url.host}: ${why}`,
      { cause },
    );
  }

  #invalid(what: string): MirrorError {
    return new MirrorError(
      'UPSTREAM_INVALID',
      `upstream ${this.#options.registry} is refused: ${what}`,
    );
  }
}

/** Ends a body that nobody will read: a small rest is read away so that the connection can be used again. */
export function discard(body: Dispatcher.ResponseData['body']): void {
  body.dump({ limit: 64 * 1024 }).catch(() => {});
}

function kindOf({ what, method }: Ask): LimitedKind {
  if (what === 'blob' || what === 'referrers') return what;
  return what === 'manifest' && method === 'GET' ? 'pull' : 'check';
}

/** Retry-After in seconds or as a date; RFC 9110, 10.2.3. */
function retryAfterSeconds(headers: IncomingHttpHeaders, clock: Clock): number | undefined {
  const text = headers['retry-after'];
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs)
    ? undefined
    : Math.max(0, Math.ceil((dateMs - clock.wallMs()) / 1000));
}

function headerLines(value: string | string[] | undefined): string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

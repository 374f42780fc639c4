import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Clock } from '../base/clock.ts';
import type { Event, Observe } from '../base/events.ts';
import type { Priority } from '../base/limiter.ts';
import type { TokenBucket } from '../base/token-bucket.ts';
import { MirrorError } from '../oci/errors.ts';
import { Elsewhere } from './elsewhere.ts';
import { RefusedAddress, type Connections } from './network/connections.ts';
import {
  trustOfRealm,
  trustOfRedirect,
  type DestinationRules,
  type Trust,
} from './network/destinations.ts';
import type { QuotaLedger } from './quota.ts';
import { discard, readAtMost } from './read-body.ts';
import { isPage } from './refusal.ts';
import { retryAfterSeconds } from './retry-after.ts';
import type { FetchToken } from './tokens.ts';
import type { Wait } from './upstream.ts';

export interface ExchangeOptions {
  readonly registry: string;
  readonly connections: Connections;
  readonly destinations: DestinationRules;
  readonly headersTimeoutMs: number;
  /** What is read of a body before its reader takes it: large is fast, small keeps a rate exact. */
  readonly bodyBufferBytes: number;
  readonly ledger: QuotaLedger;
  /** Requests a second, tokens and redirects included; undefined: no limit. */
  readonly rate: TokenBucket | undefined;
  readonly userAgent: string;
  readonly clock: Clock;
  readonly observe: Observe;
}

export interface Ask {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query below the upstream's URL, beginning with `/v2/`. */
  readonly path: string;
  /** In its place: where an answer said that an upload goes on. */
  readonly url?: URL | undefined;
  /** What the token must allow; `pull` when it is not said. */
  readonly access?: 'pull' | 'pull,push' | undefined;
  /** Called for each time that it is sent; its length must be in the headers. */
  readonly content?: (() => Uint8Array | Readable) | undefined;
  /** The repository that the token must be for. */
  readonly name: string;
  readonly what: Extract<Event, { kind: 'upstream-answered' }>['what'];
  readonly headers: Readonly<Record<string, string>>;
}

/** An ask, and the name of the account that it is made for. */
export interface AskAs extends Ask {
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

const redirectStatuses = new Set([301, 302, 303, 307, 308]);

/** What a CDN says to a signed URL whose time is over; S3, R2 and GCS differ. */
const expiredStatuses = new Set([400, 401, 403, 410]);

/** For a look at `/v2/`, which a healthy registry answers in a moment. */
const pingTimeoutMs = 10_000;

const tokenBytesMax = 1024 * 1024;

/**
 * One request to an upstream and what it leads to: redirects are followed, with secrets left behind and
 * nothing sent where an answer must not send us; errors of the network and of servers become MirrorErrors.
 */
export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #elsewhere: Elsewhere;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.#elsewhere = new Elsewhere(options.registry, options.clock, options.observe);
  }

  /**
   * Answers whatever comes in the end below 500, but for 429. Redirects are followed by us, so clients
   * never see a CDN and what comes is verified and kept.
   * @param base the URL of the registry that is asked, to which alone `authorization` is sent
   */
  async follow(
    base: URL,
    ask: AskAs,
    authorization: string | undefined,
    wait: Wait,
  ): Promise<Answer> {
    const answer = await this.#followOnce(base, ask, authorization, wait);
    const isElsewhere = answer.url.origin !== base.origin;
    // An address that is signed for GET refuses every HEAD, a new one no less: a GET decides then.
    const isSignedForGet = ask.method === 'HEAD' && ask.what === 'blob';
    if (!isElsewhere || isSignedForGet || !expiredStatuses.has(answer.status)) {
      return this.#judge(answer, base, ask);
    }
    // A registry may hand out a signed URL that it kept too long: the registry knows a new one.
    discard(answer.body);
    return this.#judge(await this.#followOnce(base, ask, authorization, wait), base, ask);
  }

  /** The GET for a token: no redirect is followed with a password. */
  readonly fetchToken: FetchToken = async (realm, headers, signal, form) => {
    const url = new URL(realm);
    const ask: Ask = {
      method: form === undefined ? 'GET' : 'POST',
      path: '',
      name: '',
      what: 'token',
      headers: {},
    };
    const trust = trustOfRealm(url, this.#options.destinations);
    const answer = await this.#send(url, trust, ask, headers, { signal }, form);
    return {
      status: answer.status,
      isPage: isPage(answer.headers),
      body: await readAtMost(answer.body, tokenBytesMax, 'a token answer'),
      retryAfterSeconds: retryAfterSeconds(answer.headers, this.#options.clock),
    };
  };

  /**
   * GET of `/v2/` at one URL, as it is: without a login, a redirect or the memory of outages.
   * @throws MirrorError UPSTREAM_UNAVAILABLE
   */
  async ping(base: URL): Promise<Pick<Answer, 'status' | 'headers'>> {
    const ask: Ask = { method: 'GET', path: '', name: '', what: 'ping', headers: {} };
    const url = new URL(`${base.pathname.replace(/\/$/, '')}/v2/`, base);
    const answer = await this.#send(url, 'own', ask, {}, { headersTimeoutMs: pingTimeoutMs });
    discard(answer.body);
    return { status: answer.status, headers: answer.headers };
  }

  async #followOnce(
    base: URL,
    ask: AskAs,
    authorization: string | undefined,
    wait: Wait,
  ): Promise<Answer> {
    const prefix = base.pathname.replace(/\/$/, '');
    let url = ask.url ?? new URL(prefix + ask.path, base);
    let trust: Trust =
      url.origin === base.origin ? 'own' : trustOfRedirect(url, this.#options.destinations);
    for (let hop = 0; hop <= redirectsMax; hop += 1) {
      // A secret goes to the origin that it is for, whatever the redirects did before.
      const mayAuthorize = authorization !== undefined && url.origin === base.origin;
      const headers = { ...ask.headers, ...(mayAuthorize ? { authorization } : {}) };
      const to = { url, trust };
      const send = (): Promise<Answer> => this.#send(to.url, to.trust, ask, headers, wait);
      const isOwn = url.origin === base.origin;
      const answer = await (isOwn ? send() : this.#elsewhere.ask(url, send));
      const location = answer.headers.location;
      if (!redirectStatuses.has(answer.status) || location === undefined) return answer;
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
      trust = trustOfRedirect(url, this.#options.destinations);
    }
    throw this.#invalid(`it redirects more than ${redirectsMax} times`);
  }

  async #send(
    url: URL,
    trust: Trust,
    ask: Ask,
    headers: Readonly<Record<string, string>>,
    wait: Wait,
    form?: string,
  ): Promise<Answer> {
    const priority = wait.priority ?? ((): Priority => 'client');
    await this.#options.rate?.take(1, priority, wait.signal);
    const startMs = this.#options.clock.monotonicMs();
    let response: Dispatcher.ResponseData;
    try {
      const dispatcher = await this.#options.connections.dispatcherFor(url, trust);
      response = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: ask.method,
        headers: {
          'user-agent': this.#options.userAgent,
          'accept-encoding': 'identity',
          ...headers,
        },
        body: form ?? ask.content?.() ?? null,
        signal: wait.signal ?? null,
        headersTimeout: wait.headersTimeoutMs ?? this.#options.headersTimeoutMs,
        // The idle time of a blob is watched by its fill, which can resume; the others cannot.
        bodyTimeout: ask.what === 'blob' ? 0 : this.#options.headersTimeoutMs,
        highWaterMark: this.#options.bodyBufferBytes,
      });
    } catch (cause) {
      if (wait.signal?.aborted === true) throw wait.signal.reason;
      if (cause instanceof RefusedAddress) {
        const setting = ask.what === 'token' ? 'authHosts' : 'redirectHosts';
        const remedy = `if that is right, add ${url.host} to ${setting} of that upstream`;
        throw this.refuse(ask.what, url.host, `${cause.message}; ${remedy}`);
      }
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

  #judge(answer: Answer, base: URL, ask: AskAs): Answer {
    const { registry } = this.#options;
    const isManifest = ask.what === 'manifest' && answer.status === 200;
    const counts = ask.method === 'GET' ? 'pull' : 'check';
    const isOwn = answer.url.origin === base.origin;
    // Of the quota only the registry itself knows, whatever a host says that it redirects to.
    const headers = isOwn ? answer.headers : {};
    this.#options.ledger.note(ask.account, isManifest ? counts : 'other', headers);
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
        {
          detail: {
            status: answer.status,
            ...(isOwn ? {} : { host: answer.url.host }),
          },
          ...(retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter }),
        },
      );
    }
    return answer;
  }

  /** An answer of upstream would send us where nothing of it may be: the operator hears of it. */
  refuse(what: Ask['what'], host: string, message: string): MirrorError {
    const { registry } = this.#options;
    this.#options.observe({ kind: 'upstream-refused', registry, host, what, message });
    return new MirrorError(
      'UPSTREAM_INVALID',
      `upstream ${registry} sends us to ${host} and is refused: ${message}`,
    );
  }

  #unreachable(url: URL, cause: unknown): MirrorError {
    const why = cause instanceof Error ? cause.message : String(cause);
    const { registry } = this.#options;
    this.#options.observe({
      kind: 'upstream-unreachable',
      registry,
      url: url.origin,
      message: why,
    });
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

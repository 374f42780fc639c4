import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { findChallenge, type Challenge } from './challenge.ts';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Sends the GET for a token: no redirects, at most 1 MiB of answer. */
export type FetchToken = (
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
) => Promise<{ readonly status: number; readonly body: Uint8Array }>;

export interface TokenSourceOptions {
  readonly registry: string;
  readonly credentials: () => Promise<Credentials | undefined>;
  readonly clock: Clock;
  readonly realmAllowed: (realm: URL) => boolean;
  readonly fetchToken: FetchToken;
}

/** Tokens kept: one a repository and credential. The oldest goes first. */
const tokensMax = 1_000;

/** When a token server does not say; distribution, docs/spec/auth/token. */
const defaultLifetimeSeconds = 60;

const tokenTimeoutMs = 10_000;

interface Token {
  readonly header: string;
  readonly expiresMs: number;
}

/**
 * Authorization for one URL of one upstream: Bearer tokens, Basic, or none.
 *
 * A token is kept by realm, service, scope *and credential*, for its life less a margin, measured from
 * its receipt; whoever asks meanwhile shares one request. Once the challenge is known, tokens are
 * fetched before they are asked for, so a request does not pay for its first 401.
 */
export class TokenSource {
  readonly #options: TokenSourceOptions;
  readonly #tokens = new Map<string, Token>();
  readonly #fetching = new Map<string, Promise<Token>>();
  #known: Challenge | undefined;

  constructor(options: TokenSourceOptions) {
    this.#options = options;
  }

  /** The header for a scope, such as `repository:library/alpine:pull`; undefined while none is needed. */
  async authorizationFor(scope: string, signal?: AbortSignal): Promise<string | undefined> {
    if (this.#known === undefined) return undefined;
    const credentials = await this.#options.credentials();
    if (this.#known.scheme === 'basic') return basicOf(credentials);
    return (await this.#token(this.#known, scope, credentials, signal)).header;
  }

  /**
   * The header after a 401. Undefined when nothing can be done: no usable challenge, or Basic without
   * credentials.
   * @param refused the header that was sent, so that only that token is thrown away
   * @throws MirrorError DENIED for a realm that is not allowed or a refused login;
   *   UPSTREAM_UNAVAILABLE, UPSTREAM_LIMITED from the token server
   */
  async authorizationAfter(
    lines: readonly string[],
    scope: string,
    refused: string | undefined,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const challenge = findChallenge(lines);
    if (challenge === undefined) return undefined;
    const credentials = await this.#options.credentials();
    this.#known = challenge;
    if (challenge.scheme === 'basic') {
      const header = basicOf(credentials);
      // The same login again would be refused again.
      return header === refused ? undefined : header;
    }
    const wanted = challenge.parameters['scope'] ?? scope;
    const key = this.#keyOf(challenge, wanted, credentials);
    if (this.#tokens.get(key)?.header === refused) this.#tokens.delete(key);
    const { header } = await this.#token(challenge, wanted, credentials, signal);
    return header;
  }

  async #token(
    challenge: Challenge,
    scope: string,
    credentials: Credentials | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Token> {
    const key = this.#keyOf(challenge, scope, credentials);
    const kept = this.#tokens.get(key);
    if (kept !== undefined && this.#options.clock.monotonicMs() < kept.expiresMs) return kept;
    let fetching = this.#fetching.get(key);
    if (fetching === undefined) {
      // Shared, so it does not end with the one who happened to ask first.
      fetching = this.#fetch(challenge, scope, credentials).finally(() =>
        this.#fetching.delete(key),
      );
      this.#fetching.set(key, fetching);
    }
    const token = await orAborted(fetching, signal);
    this.#tokens.delete(key);
    this.#tokens.set(key, token);
    const [oldest] = this.#tokens.keys();
    if (this.#tokens.size > tokensMax && oldest !== undefined) this.#tokens.delete(oldest);
    return token;
  }

  async #fetch(
    challenge: Challenge,
    scope: string,
    credentials: Credentials | undefined,
  ): Promise<Token> {
    const realm = this.#realmOf(challenge);
    const { service } = challenge.parameters;
    if (service !== undefined) realm.searchParams.set('service', service);
    realm.searchParams.set('scope', scope);
    if (credentials !== undefined) realm.searchParams.set('account', credentials.username);
    const authorization = basicOf(credentials);
    const headers = authorization === undefined ? {} : { authorization };
    const answer = await this.#ask(realm, headers);
    if (answer.status === 401 || answer.status === 403) {
      throw new MirrorError(
        'DENIED',
        `the token server ${realm.host} of ${this.#options.registry} refuses our login (${answer.status}); check username and password of that upstream`,
      );
    }
    if (answer.status === 429) {
      throw new MirrorError(
        'UPSTREAM_LIMITED',
        `the token server ${realm.host} limits our requests (429)`,
        {
          retryAfterSeconds: 10,
        },
      );
    }
    const token = answer.status === 200 ? readToken(answer.body) : undefined;
    if (token === undefined) {
      throw new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `the token server ${realm.host} of ${this.#options.registry} answered ${answer.status} without a token`,
      );
    }
    const lifetimeMs = token.lifetimeSeconds * 1000;
    const marginMs = Math.min(lifetimeMs / 10, 30_000);
    const expiresMs = this.#options.clock.monotonicMs() + lifetimeMs - marginMs;
    return { header: `Bearer ${token.text}`, expiresMs };
  }

  async #ask(realm: URL, headers: Record<string, string>): ReturnType<FetchToken> {
    try {
      return await this.#options.fetchToken(
        realm.href,
        headers,
        AbortSignal.timeout(tokenTimeoutMs),
      );
    } catch (cause) {
      if (isMirrorError(cause)) throw cause;
      throw new MirrorError(
        'UPSTREAM_UNAVAILABLE',
        `the token server ${realm.host} of ${this.#options.registry} does not answer`,
        { cause },
      );
    }
  }

  #realmOf({ parameters }: Challenge): URL {
    const text = parameters['realm'] ?? '';
    const realm = URL.canParse(text) ? new URL(text) : undefined;
    if (realm !== undefined && this.#options.realmAllowed(realm)) return realm;
    const shown = realm === undefined ? 'an address that cannot be read' : realm.host;
    throw new MirrorError(
      'DENIED',
      `upstream ${this.#options.registry} sends us to ${shown} for a token, which is not its own; if that is right, add the host to authHosts of that upstream`,
    );
  }

  #keyOf(challenge: Challenge, scope: string, credentials: Credentials | undefined): string {
    const { realm = '', service = '' } = challenge.parameters;
    const secret =
      credentials === undefined ? '' : `${credentials.username}:${credentials.password}`;
    const who = createHash('sha256').update(secret).digest('base64');
    return [realm, service, scope, who].join('\n');
  }
}

function readToken(body: Uint8Array): { text: string; lifetimeSeconds: number } | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    return undefined;
  }
  const {
    token,
    access_token: other,
    expires_in: seconds,
  } = (answer ?? {}) as Record<string, unknown>;
  const text = typeof token === 'string' && token !== '' ? token : other;
  // Whatever a token server sends goes into a header of ours.
  if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text)) return undefined;
  const isLifetime = typeof seconds === 'number' && seconds > 0;
  return { text, lifetimeSeconds: isLifetime ? seconds : defaultLifetimeSeconds };
}

function basicOf(credentials: Credentials | undefined): string | undefined {
  if (credentials === undefined) return undefined;
  const text = `${credentials.username}:${credentials.password}`;
  return `Basic ${Buffer.from(text).toString('base64')}`;
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

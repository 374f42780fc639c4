import { createHash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { findChallenge, type Challenge } from './challenge.ts';

/**
 * A login at an upstream, as the operator configured it. Never shown, never in a message. With
 * `<token>` as username the password is an identity token, which only buys other tokens.
 */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/**
 * Sends the GET for a token, or the POST when there is a form. Follows no redirect, reads at most 1 MiB
 * of answer, stops with the signal; may throw anything, which counts as no answer.
 */
export type FetchToken = (
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
  form?: string,
) => Promise<{
  readonly status: number;
  /** A page for people: of something in between, such as a firewall. */
  readonly isPage?: boolean;
  readonly body: Uint8Array;
  /** What Retry-After said, when it did. */
  readonly retryAfterSeconds?: number | undefined;
}>;

/** What a `TokenSource` needs of the outside. */
export interface TokenSourceOptions {
  /** The upstream's name, for messages. */
  readonly registry: string;
  /** Asked for each time, so that a changed secret is used at once. */
  readonly credentials: () => Promise<Credentials | undefined>;
  readonly clock: Clock;
  /** Whether a token may be fetched from there: see `realmPolicy`. */
  readonly realmAllowed: (realm: URL) => boolean;
  readonly fetchToken: FetchToken;
}

/** Tokens kept: one a repository and credential, some 2 kB each. The least recently used goes first. */
const tokensMax = 1_000;

/** When a token server does not say; distribution, docs/spec/auth/token. */
const defaultLifetimeSeconds = 60;

const tokenTimeoutMs = 10_000;

/** After a 429 without Retry-After. */
const limitedSeconds = 10;

/** The part of a token's life after which the next one is fetched beside the requests that use it. */
const renewAfterShare = 0.75;

interface Token {
  readonly header: string;
  readonly expiresMs: number;
  readonly renewMs: number;
  /** What it was issued for: the challenge's own scope, where that is not the one we would build. */
  readonly scope: string;
}

interface Want {
  readonly challenge: Challenge;
  /** What we need it for; tokens are kept by this. */
  readonly need: string;
  /** What the token server is asked for. */
  readonly scope: string;
  readonly credentials: Credentials | undefined;
}

/**
 * Authorization for one URL of one upstream: Bearer tokens, Basic, or none.
 *
 * A token is kept by realm, service, scope *and credential*, for its life less a margin, measured from
 * its receipt; whoever asks meanwhile shares one request. Once a challenge has led to a token, tokens
 * are fetched before they are asked for, so a request does not pay for its first 401.
 */
export class TokenSource {
  readonly #options: TokenSourceOptions;
  readonly #tokens = new Map<string, Token>();
  readonly #fetching = new Map<string, Promise<Token>>();
  #known: Challenge | undefined;

  constructor(options: TokenSourceOptions) {
    this.#options = options;
  }

  /**
   * The header for a scope, such as `repository:library/alpine:pull`; undefined while none is needed.
   * @throws MirrorError as `authorizationAfter`; the signal's reason
   */
  async authorizationFor(scope: string, signal?: AbortSignal): Promise<string | undefined> {
    const known = this.#known;
    if (known === undefined) return undefined;
    const credentials = await this.#options.credentials();
    if (known.scheme === 'basic') return basicOf(credentials);
    const want = { challenge: known, need: scope, scope, credentials };
    // Public ECR has one scope, «aws», for all: what the last 401 named is right the next time, too.
    const learnt = this.#tokens.get(this.#keyOf(want))?.scope ?? scope;
    try {
      return (await this.#token({ ...want, scope: learnt }, signal)).header;
    } catch (error) {
      // A registry whose token server has moved says so in the 401 of the next request.
      const isForgotten = isMirrorError(error) && error.code !== 'UPSTREAM_LIMITED';
      if (isForgotten && this.#known === known) this.#known = undefined;
      throw error;
    }
  }

  /**
   * The header after a 401. Undefined when nothing can be done: no usable challenge, or Basic without
   * credentials.
   * @param refused the header that was sent, so that only that token is thrown away
   * @throws MirrorError DENIED for a realm that is not allowed or a refused login;
   *   UPSTREAM_UNAVAILABLE, UPSTREAM_LIMITED from the token server; the signal's reason
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
    if (challenge.scheme === 'basic') {
      this.#known = challenge;
      const header = basicOf(credentials);
      // The same login again would be refused again.
      return header === refused ? undefined : header;
    }
    const asked = challenge.parameters['scope'] ?? '';
    const want = { challenge, need: scope, scope: asked === '' ? scope : asked, credentials };
    const key = this.#keyOf(want);
    if (this.#tokens.get(key)?.header === refused) this.#tokens.delete(key);
    const { header } = await this.#token(want, signal);
    this.#known = challenge;
    return header;
  }

  /**
   * The header after a 403: a new token, for what the refused one was granted may have changed since.
   * Who was refused with a token that has been replaced meanwhile gets its successor. Undefined when
   * there is nothing to send but what was refused.
   * @throws as `authorizationFor`
   */
  async authorizationAnew(
    scope: string,
    refused: string | undefined,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const stale = [...this.#tokens].find(([, { header }]) => header === refused);
    if (stale !== undefined) this.#tokens.delete(stale[0]);
    const header = await this.authorizationFor(scope, signal);
    return header === refused ? undefined : header;
  }

  async #token(want: Want, signal: AbortSignal | undefined): Promise<Token> {
    signal?.throwIfAborted();
    const key = this.#keyOf(want);
    const kept = this.#tokens.get(key);
    const now = this.#options.clock.monotonicMs();
    if (kept?.scope === want.scope && now < kept.expiresMs) {
      const isDue = now >= kept.renewMs;
      this.#keep(key, isDue ? { ...kept, renewMs: Infinity } : kept);
      // Once: what fails here is met when the token is over.
      if (isDue) void this.#shared(want, key);
      return kept;
    }
    return orAborted(this.#shared(want, key), signal);
  }

  /**
   * One request for all who want the same. It does not end with the one who happened to ask first, and
   * its token is kept once, so that a slow waiter does not bring back what a 401 has thrown away since.
   */
  #shared(want: Want, key: string): Promise<Token> {
    const flight = `${key}\n${want.scope}`;
    const running = this.#fetching.get(flight);
    if (running !== undefined) return running;
    const fetching = this.#fetch(want)
      .then((token) => {
        this.#keep(key, token);
        return token;
      })
      .finally(() => this.#fetching.delete(flight));
    // All who wait may have left before it fails.
    fetching.catch(() => {});
    this.#fetching.set(flight, fetching);
    return fetching;
  }

  #keep(key: string, token: Token): void {
    this.#tokens.delete(key);
    this.#tokens.set(key, token);
    const [oldest] = this.#tokens.keys();
    if (this.#tokens.size > tokensMax && oldest !== undefined) this.#tokens.delete(oldest);
  }

  async #fetch({ challenge, scope, credentials }: Want): Promise<Token> {
    const realm = this.#realmOf(challenge);
    const { service } = challenge.parameters;
    if (service !== undefined) realm.searchParams.set('service', service);
    realm.searchParams.set('scope', scope);
    const answer = isIdentityToken(credentials)
      ? await this.#askWithIdentity(realm, credentials.password)
      : await this.#askWithPassword(realm, credentials);
    const isRefused = answer.status === 401 || answer.status === 403;
    if (isRefused && answer.isPage !== true) {
      const why =
        credentials === undefined
          ? `gives us no token without a login (${answer.status}); set username and password of that upstream`
          : `refuses our login (${answer.status}); check username and password of that upstream`;
      const server = `the token server ${realm.host} of ${this.#options.registry}`;
      throw new MirrorError('DENIED', `${server} ${why}`);
    }
    if (answer.status === 429) {
      throw new MirrorError(
        'UPSTREAM_LIMITED',
        `the token server ${realm.host} limits our requests (429)`,
        { retryAfterSeconds: answer.retryAfterSeconds ?? limitedSeconds },
      );
    }
    const token = answer.status === 200 ? readToken(answer.body) : undefined;
    if (token === undefined) throw this.#withoutToken(answer, realm, scope);
    const lifetimeMs = token.lifetimeSeconds * 1000;
    const marginMs = Math.min(lifetimeMs / 10, 30_000);
    const now = this.#options.clock.monotonicMs();
    return {
      header: `Bearer ${token.text}`,
      expiresMs: now + lifetimeMs - marginMs,
      renewMs: now + lifetimeMs * renewAfterShare,
      scope,
    };
  }

  /** A server that errs, or is hidden, may do better soon; else it refuses that scope alone. */
  #withoutToken(
    { status, isPage }: Awaited<ReturnType<FetchToken>>,
    { host }: URL,
    scope: string,
  ): MirrorError {
    return new MirrorError(
      status >= 500 || isPage === true ? 'UPSTREAM_UNAVAILABLE' : 'UPSTREAM_INVALID',
      `the token server ${host} of ${this.#options.registry} answered ${status} without a token for ${scope}`,
      { detail: { status } },
    );
  }

  #askWithPassword(realm: URL, credentials: Credentials | undefined): ReturnType<FetchToken> {
    if (credentials !== undefined) realm.searchParams.set('account', credentials.username);
    const authorization = basicOf(credentials);
    return this.#ask(realm, authorization === undefined ? {} : { authorization });
  }

  /** OAuth 2, as ACR and `docker login` with an identity token want it; distribution, spec/auth/oauth. */
  #askWithIdentity(realm: URL, identityToken: string): ReturnType<FetchToken> {
    const form = new URLSearchParams(realm.search);
    realm.search = '';
    form.set('grant_type', 'refresh_token');
    form.set('client_id', 'entrepot');
    form.set('refresh_token', identityToken);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return this.#ask(realm, headers, form.toString());
  }

  async #ask(realm: URL, headers: Record<string, string>, form?: string): ReturnType<FetchToken> {
    const timeout = AbortSignal.timeout(tokenTimeoutMs);
    try {
      return await orAborted(this.#options.fetchToken(realm.href, headers, timeout, form), timeout);
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

  #keyOf({ challenge, need, credentials }: Want): string {
    const { realm = '', service = '' } = challenge.parameters;
    const secret =
      credentials === undefined ? '' : `${credentials.username}:${credentials.password}`;
    const who = createHash('sha256').update(secret).digest('base64');
    return [realm, service, need, who].join('\n');
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

function isIdentityToken(credentials: Credentials | undefined): credentials is Credentials {
  return credentials?.username === '<token>';
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

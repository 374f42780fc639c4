import type { RecordedRequest } from './faults.ts';
import { errorContent, jsonContent, type Content } from './scripted-answer.ts';

/** How a scripted registry asks who is there. Without a username, everybody gets a token. */
export type AuthOptions =
  | {
      readonly kind: 'bearer';
      readonly username?: string;
      readonly password?: string;
      readonly expiresInSeconds?: number;
      /** Another scripted registry, whose `/token` issues them; this one unless told. */
      readonly realm?: string;
    }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string };

interface Token {
  readonly scope: string;
  readonly expiresAt: number;
}

/** The token server of a registry: what it issues, and what each request must show. */
export class Tokens {
  readonly #options: AuthOptions;
  readonly #issued = new Map<string, Token>();
  #serial = 0;

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /** The answer of `/token`. */
  issue(record: RecordedRequest): Content {
    if (this.#options.kind === 'basic') return errorContent(404, 'UNSUPPORTED');
    if (this.#options.username !== undefined && !this.#hasPassword(record)) {
      return errorContent(401, 'UNAUTHORIZED');
    }
    const expiresInSeconds = this.#options.expiresInSeconds ?? 300;
    const token = `scripted-token-${(this.#serial += 1)}`;
    this.#issued.set(token, {
      scope: record.reference ?? '',
      expiresAt: performance.now() + expiresInSeconds * 1000,
    });
    return jsonContent(200, { token, expires_in: expiresInSeconds });
  }

  /** The 401 that this request deserves; undefined when it may pass. */
  challenge(record: RecordedRequest, registryUrl: string): Content | undefined {
    const refusal = errorContent(401, 'UNAUTHORIZED');
    const refuse = (challenge: string): Content => ({
      ...refusal,
      headers: { ...refusal.headers, 'www-authenticate': challenge },
    });
    if (this.#options.kind === 'basic') {
      return this.#hasPassword(record) ? undefined : refuse('Basic realm="scripted"');
    }
    const scope =
      record.repository === undefined ? undefined : `repository:${record.repository}:pull`;
    const bearer = /^Bearer (.+)$/.exec(record.headers.authorization ?? '')?.[1] ?? '';
    const token = this.#issued.get(bearer);
    const isGood =
      token !== undefined &&
      performance.now() < token.expiresAt &&
      (scope === undefined || token.scope.split(' ').includes(scope));
    if (isGood) return undefined;
    const realm = this.#options.realm ?? `${registryUrl}/token`;
    const asked = scope === undefined ? '' : `,scope="${scope}"`;
    return refuse(`Bearer realm="${realm}",service="scripted"${asked}`);
  }

  revoke(): void {
    this.#issued.clear();
  }

  #hasPassword(record: RecordedRequest): boolean {
    const { username, password } = this.#options;
    const expected = Buffer.from(`${username}:${password}`).toString('base64');
    return record.headers.authorization === `Basic ${expected}`;
  }
}

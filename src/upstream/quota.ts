import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';

/**
 * What one account used and has left at an upstream. At Docker Hub a GET of a manifest is a pull, also
 * when it is by digest; a HEAD of one, a blob and a token are none.
 */
export interface Quota {
  /** The user name of the login that was used, or `anonymous`. */
  readonly account: string;
  /**
   * Whom upstream counts: an address or an id of its own (`docker-ratelimit-source`). It shows whether
   * a login took effect.
   */
  readonly source: string | undefined;
  /** Pulls in a window; undefined while upstream has named no limit. */
  readonly limit: number | undefined;
  /** Pulls left of the limit when upstream said so last. */
  readonly remaining: number | undefined;
  readonly windowSeconds: number | undefined;
  /** When upstream said so last: wall clock, milliseconds. */
  readonly seenMs: number | undefined;
  /** GETs of manifests that upstream answered since this process began. */
  readonly pulls: number;
  /** HEADs of manifests that upstream answered since this process began. */
  readonly checks: number;
}

/** Accounts that are told apart; rotated logins beyond it push out the oldest. */
const accountsMax = 16;

/** Nobody's pull quota is larger; beyond it a header is not believed. */
const numberMax = 1_000_000_000;

/** The pull quota of one upstream by account, read from every answer. */
export class QuotaLedger {
  readonly #registry: string;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #byAccount = new Map<string, Quota>();

  constructor(registry: string, clock: Clock, observe: Observe) {
    this.#registry = registry;
    this.#clock = clock;
    this.#observe = observe;
  }

  /** One entry an account, the one that was used last at the end. */
  get quotas(): readonly Quota[] {
    return [...this.#byAccount.values()];
  }

  /** Upstream has answered: counts it, and takes what the headers say of the quota. */
  note(account: string, what: 'pull' | 'check' | 'other', headers: IncomingHttpHeaders): void {
    const before = this.#byAccount.get(account) ?? unused(account);
    const seen = readQuota(headers);
    // Most registries have no quota: only accounts that pull or are limited are worth a line.
    if (what === 'other' && seen === undefined) return;
    const quota: Quota = {
      ...before,
      ...(seen === undefined ? {} : { ...seen, seenMs: this.#clock.wallMs() }),
      pulls: before.pulls + (what === 'pull' ? 1 : 0),
      checks: before.checks + (what === 'check' ? 1 : 0),
    };
    this.#byAccount.delete(account);
    this.#byAccount.set(account, quota);
    this.#forgetOldest();
    if (seen === undefined || isSame(seen, before)) return;
    this.#observe({ kind: 'quota-seen', registry: this.#registry, account, ...seen });
  }

  #forgetOldest(): void {
    const [oldest] = this.#byAccount.keys();
    if (this.#byAccount.size > accountsMax && oldest !== undefined) this.#byAccount.delete(oldest);
  }
}

/** What the headers of one answer say. */
type Reading = Pick<Quota, 'source' | 'limit' | 'remaining' | 'windowSeconds'>;

/**
 * `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 76;w=21600`, `docker-ratelimit-source: …`, as
 * Docker Hub sends them with manifests; undefined when the answer says nothing of a quota.
 */
export function readQuota(headers: IncomingHttpHeaders): Reading | undefined {
  const limit = readNumber(headers['ratelimit-limit']);
  const remaining = readNumber(headers['ratelimit-remaining']);
  if (limit === undefined && remaining === undefined) return undefined;
  const source = textOf(headers['docker-ratelimit-source']);
  return {
    // It is shown to people and in metrics: nothing but an address or an id may pass.
    source: source !== undefined && /^[\w.:-]{1,64}$/.test(source) ? source : undefined,
    limit: limit?.count,
    remaining: remaining?.count,
    windowSeconds: limit?.windowSeconds ?? remaining?.windowSeconds,
  };
}

/** `100`, `100;w=21600`, `100, 100;w=21600`: the count first, the window of the first that names one. */
function readNumber(
  value: string | string[] | undefined,
): { count: number; windowSeconds: number | undefined } | undefined {
  const text = textOf(value)?.slice(0, 200) ?? '';
  const count = Number(/^\s*(\d{1,10})\s*(?=$|[;,])/.exec(text)?.[1] ?? NaN);
  const windowSeconds = Number(/;\s*w\s*=\s*(\d{1,10})/.exec(text)?.[1] ?? NaN);
  if (!(count <= numberMax)) return undefined;
  const isWindow = windowSeconds > 0 && windowSeconds <= numberMax;
  return { count, windowSeconds: isWindow ? windowSeconds : undefined };
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function unused(account: string): Quota {
  return {
    account,
    source: undefined,
    limit: undefined,
    remaining: undefined,
    windowSeconds: undefined,
    seenMs: undefined,
    pulls: 0,
    checks: 0,
  };
}

function isSame(a: Reading, b: Reading): boolean {
  return (
    a.source === b.source &&
    a.limit === b.limit &&
    a.remaining === b.remaining &&
    a.windowSeconds === b.windowSeconds
  );
}

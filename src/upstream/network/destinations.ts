import { isIP } from 'node:net';
import { isSameDomain } from '../realm.ts';
import type { AddressKind } from './addresses.ts';

/**
 * Whom a request goes to.
 *
 * - `own`: the upstream's URLs and token servers that the operator configured, wherever they are.
 * - `named`: a host that the operator lets it redirect to, wherever it is.
 * - `site`: another host of the upstream's own domain, which may be in a private network.
 * - `public`: any other host that an answer named, which must be on the internet.
 */
export type Trust = 'own' | 'named' | 'site' | 'public';

export const addressesAllowed: Readonly<Record<Trust, ReadonlySet<AddressKind>>> = {
  own: new Set<AddressKind>(['public', 'private', 'reserved']),
  named: new Set<AddressKind>(['public', 'private', 'reserved']),
  site: new Set<AddressKind>(['public', 'private']),
  public: new Set<AddressKind>(['public']),
};

export interface DestinationRules {
  readonly urls: readonly URL[];
  /** Hosts, with or without a port, that the operator trusts with tokens. */
  readonly authHosts: readonly string[];
  /** Hosts, with or without a port, to which blobs may be redirected wherever they are. */
  readonly redirectHosts: readonly string[];
}

/** How far a token server is trusted that the realm policy has let through. */
export function trustOfRealm(realm: URL, { urls, authHosts }: DestinationRules): Trust {
  const isOwn = urls.some(({ hostname }) => hostname === realm.hostname);
  if (isOwn || isNamed(realm, authHosts)) return 'own';
  return isOfSite(realm, urls) ? 'site' : 'public';
}

/** How far the target of a redirect is trusted: another port of a host is another server. */
export function trustOfRedirect(target: URL, { urls, redirectHosts }: DestinationRules): Trust {
  const isOwn = urls.some(({ origin }) => origin === target.origin);
  if (isOwn) return 'own';
  if (isNamed(target, redirectHosts)) return 'named';
  return isOfSite(target, urls) ? 'site' : 'public';
}

function isOfSite(target: URL, urls: readonly URL[]): boolean {
  return (
    isIP(target.hostname) === 0 &&
    urls.some(({ hostname }) => isSameDomain(hostname, target.hostname))
  );
}

function isNamed(target: URL, names: readonly string[]): boolean {
  return names.some((name) => {
    const lower = name.toLowerCase();
    return lower === target.host || lower === target.hostname;
  });
}

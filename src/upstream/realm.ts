import { isIP } from 'node:net';

/** Token servers that are not on the registry's own domain. */
const knownPairs: Readonly<Record<string, readonly string[]>> = {
  'registry-1.docker.io': ['auth.docker.io'],
  'index.docker.io': ['auth.docker.io'],
  'docker.io': ['auth.docker.io'],
};

/** Suffixes of two labels under which anybody can register; the usual ones of large countries. */
const sharedSuffixes = new Set(
  (
    'ac.uk co.uk gov.uk org.uk com.cn net.cn org.cn gov.cn com.au net.au org.au co.jp ne.jp or.jp co.kr ' +
    'com.br com.tw com.hk com.sg co.in co.nz co.za com.mx com.tr github.io'
  ).split(' '),
);

/**
 * Where an upstream may send us for a token. The address comes from the network, and credentials go
 * there (CVE-2026-33540): so the upstream's own host or domain, a known pair, or what the operator
 * names; https unless the upstream itself is plain http; no user in the URL.
 */
export function realmPolicy(upstream: URL, authHosts: readonly string[]): (realm: URL) => boolean {
  const paired = knownPairs[upstream.hostname] ?? [];
  return (realm) => {
    if (realm.username !== '' || realm.password !== '') return false;
    if (
      realm.protocol !== 'https:' &&
      !(realm.protocol === 'http:' && upstream.protocol === 'http:')
    ) {
      return false;
    }
    if (authHosts.includes(realm.host) || authHosts.includes(realm.hostname)) return true;
    if (realm.hostname === upstream.hostname) return true;
    if (isLoopback(upstream.hostname)) return isLoopback(realm.hostname);
    return paired.includes(realm.hostname) || isSameDomain(realm.hostname, upstream.hostname);
  };
}

/** The last two labels equal, where these are somebody's own: never for addresses and single labels. */
function isSameDomain(a: string, b: string): boolean {
  const domain = domainOf(a);
  return domain !== undefined && domain === domainOf(b);
}

function domainOf(host: string): string | undefined {
  if (isIP(host) !== 0 || host.startsWith('[')) return undefined;
  const labels = host.split('.');
  const lastTwo = labels.slice(-2).join('.');
  if (labels.length < 2) return undefined;
  if (!sharedSuffixes.has(lastTwo)) return lastTwo;
  return labels.length < 3 ? undefined : labels.slice(-3).join('.');
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

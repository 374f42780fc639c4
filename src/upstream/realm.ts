import { isIP } from 'node:net';

/** Token servers that are not on the registry's own host, whatever the domains say. */
const knownPairs: ReadonlyMap<string, readonly string[]> = new Map([
  ['registry-1.docker.io', ['auth.docker.io']],
  ['index.docker.io', ['auth.docker.io']],
  ['docker.io', ['auth.docker.io']],
]);

/** `co.uk`, `com.cn`, `or.jp`: under these anybody can register. Some are nobody's, which only refuses more. */
const countrySuffix =
  /^(?:ac|co|com|edu|go|gob|gouv|gov|id|ltd|me|mil|ne|net|nom|or|org|plc)\.[a-z]{2}$/;

/** Domains of hosters that give a name, or a bucket, to every customer. */
const hosterSuffixes = new Set(
  (
    'amazonaws.com aliyuncs.com appspot.com azurecr.io azurewebsites.net cloudfront.net ' +
    'core.windows.net github.io gitlab.io herokuapp.com jfrog.io netlify.app pages.dev run.app ' +
    'vercel.app windows.net workers.dev'
  ).split(' '),
);

/**
 * Where an upstream may send us for a token. The address comes from the network, and credentials go
 * there (CVE-2026-33540): so the upstream's own host or domain, a known pair, or what the operator
 * names; https unless the upstream itself is plain http; no user in the URL. A plain-http upstream on
 * loopback may name any port of loopback.
 *
 * @param authHosts hosts, with or without a port, that the operator trusts with this upstream's login
 */
export function realmPolicy(upstream: URL, authHosts: readonly string[]): (realm: URL) => boolean {
  const named = new Set(authHosts.map((host) => host.toLowerCase()));
  const paired = knownPairs.get(upstream.hostname) ?? [];
  return (realm) => {
    if (realm.username !== '' || realm.password !== '') return false;
    const isPlain = realm.protocol === 'http:';
    if (realm.protocol !== 'https:' && !(isPlain && upstream.protocol === 'http:')) return false;
    if (named.has(realm.host) || named.has(realm.hostname)) return true;
    if (realm.hostname === upstream.hostname) return true;
    if (isLoopback(upstream.hostname)) return isLoopback(realm.hostname);
    return paired.includes(realm.hostname) || isSameDomain(realm.hostname, upstream.hostname);
  };
}

export function isSameDomain(a: string, b: string): boolean {
  const domain = domainOf(a);
  return domain !== undefined && domain === domainOf(b);
}

/**
 * The last two labels, or three where two are shared; undefined for what is nobody's own domain:
 * addresses, single labels, the shared suffixes themselves, and the odd forms of a name.
 */
function domainOf(host: string): string | undefined {
  if (isIP(host) !== 0 || host.startsWith('[')) return undefined;
  const labels = host.split('.');
  // A trailing dot would make `com.` of every `.com`.
  if (labels.length < 2 || labels.includes('')) return undefined;
  const lastTwo = labels.slice(-2).join('.');
  if (!countrySuffix.test(lastTwo) && !hosterSuffixes.has(lastTwo)) return lastTwo;
  const lastThree = labels.slice(-3).join('.');
  return labels.length < 3 || hosterSuffixes.has(lastThree) ? undefined : lastThree;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

import { BlockList, isIP } from 'node:net';

/** Where requests to a host go out. `undefined`: straight. */
export type ProxyFor = (target: URL) => URL | undefined;

/**
 * The outgoing proxy by setting or environment, as curl and Go read it: HTTPS_PROXY and HTTP_PROXY by
 * the target's scheme, lower case first; NO_PROXY with hosts, `.domains`, ports, addresses, networks
 * (`10.0.0.0/8`) and `*`.
 * Loopback is never proxied.
 * @param setting the upstream's own; «none» goes straight whatever the environment says
 */
export function proxyPolicy(
  setting: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): ProxyFor {
  const exceptions = (env['no_proxy'] ?? env['NO_PROXY'] ?? '')
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map((entry) => entry.toLowerCase());
  return (target) => {
    if (setting === 'none') return undefined;
    if (setting !== undefined) return new URL(setting);
    const isSecure = target.protocol === 'https:';
    // HTTP_PROXY in capitals can be set by a request where programs run as CGI; we are none.
    const text = isSecure
      ? (env['https_proxy'] ?? env['HTTPS_PROXY'])
      : (env['http_proxy'] ?? env['HTTP_PROXY']);
    if (text === undefined || text === '' || isLoopbackHost(target.hostname)) return undefined;
    if (exceptions.some((entry) => isExcepted(entry, target))) return undefined;
    const url = text.includes('://') ? text : `http://${text}`;
    return URL.canParse(url) ? new URL(url) : undefined;
  };
}

function isExcepted(entry: string, target: URL): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isWithin(entry, target.hostname);
  const { host, port } = splitPort(entry);
  const targetPort = target.port || (target.protocol === 'https:' ? '443' : '80');
  if (port !== undefined && port !== targetPort) return false;
  const name = host.replace(/^\*?\./, '');
  return target.hostname === name || target.hostname.endsWith(`.${name}`);
}

/** Whether an address is of that network. A name is not looked up for it, as elsewhere. */
function isWithin(network: string, hostname: string): boolean {
  const [base = '', prefix = ''] = network.split('/');
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const version = isIP(host);
  const isNetwork = /^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128);
  if (version === 0 || isIP(base) !== version || !isNetwork) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(base, Number(prefix), family);
  return list.check(host, family);
}

/** An IPv6 address has colons of its own; with a port it stands in brackets. */
function splitPort(entry: string): { readonly host: string; readonly port?: string } {
  const match = /^(\[.*\]|[^:]*):(\d+)$/.exec(entry);
  const [, host, port] = match ?? [];
  return host === undefined || port === undefined ? { host: entry } : { host, port };
}

function isLoopbackHost(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
}

/** Where requests to a host go out. `undefined`: straight. */
export type ProxyFor = (target: URL) => URL | undefined;

/**
 * The outgoing proxy by setting or environment, as curl and Go read it: HTTPS_PROXY and HTTP_PROXY by
 * the target's scheme, lower case first; NO_PROXY with hosts, `.domains`, ports, addresses and `*`.
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
  const { host, port } = splitPort(entry);
  const targetPort = target.port || (target.protocol === 'https:' ? '443' : '80');
  if (port !== undefined && port !== targetPort) return false;
  const name = host.replace(/^\*?\./, '');
  return target.hostname === name || target.hostname.endsWith(`.${name}`);
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

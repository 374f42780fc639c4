import { isIP } from 'node:net';
import { connect, getCACertificates, type TLSSocket } from 'node:tls';
import type { Finding } from '../../base/finding.ts';
import type { TlsMaterial } from '../network/connections.ts';
import type { Resolver } from '../network/resolver.ts';
import { isLoopback } from '../realm.ts';

/** For each of name and handshake; a healthy one needs a tenth. */
const timeoutMs = 5_000;

/** A certificate that ends sooner is worth a word. */
const expiryWarningMs = 14 * 24 * 3_600_000;

/** The addresses of a URL's host; undefined for a URL that has an address already. */
export async function examineName(url: URL, resolver: Resolver): Promise<Finding | undefined> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0) return undefined;
  const about = { check: 'dns', subject: host } as const;
  try {
    const found = await inTime(resolver.addressesOf(host));
    const addresses = found.map(({ address }) => address);
    return { ...about, state: 'ok', seen: `is ${addresses.slice(0, 8).join(', ')}` };
  } catch (error) {
    return {
      ...about,
      state: 'failed',
      seen: `the name cannot be resolved: ${(error as Error).message}`,
      mend: checkName,
    };
  }
}

/** The handshake with a URL's host, and its certificate. */
export async function examineTls(
  url: URL,
  tls: () => Promise<TlsMaterial>,
  wallMs: number,
): Promise<Finding> {
  const about = { check: 'tls', subject: url.host } as const;
  if (url.protocol === 'http:') {
    const seen = 'plain http: nothing is encrypted or certified';
    if (isLoopback(url.hostname)) return { ...about, state: 'ok', seen: `${seen}, on loopback` };
    const mend = 'whoever is on the way can change what tags mean: use https where it is offered';
    return { ...about, state: 'warning', seen, mend };
  }
  let socket: TLSSocket | undefined;
  try {
    const material = await tls();
    socket = await handshake(url, material);
    const refusal = socket.authorizationError;
    const certificate = socket.getPeerCertificate();
    const endsMs = Date.parse(certificate.valid_to);
    const issuer = String(certificate.issuer?.O ?? certificate.issuer?.CN ?? 'nobody');
    const seen = `${socket.getProtocol()}, a certificate by ${issuer.slice(0, 100)} until ${certificate.valid_to}`;
    if (!socket.authorized && !material.insecure) {
      const code = String((refusal as Error & { code?: string }).code ?? refusal);
      return { ...about, state: 'failed', seen: `${seen}: ${code}`, mend: mendCertificate(code) };
    }
    if (!socket.authorized) {
      const mend = 'tls.insecure is set, so anybody can answer in its place: set tls.ca instead';
      return { ...about, state: 'warning', seen: `${seen}, not trusted`, mend };
    }
    if (endsMs - wallMs < expiryWarningMs) {
      const mend =
        'whoever runs this registry must renew its certificate; if the date is far away, check this machine’s clock';
      return { ...about, state: 'warning', seen, mend };
    }
    return { ...about, state: 'ok', seen };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const seen = `no connection: ${message}`;
    return { ...about, state: 'failed', seen, mend: mendConnection(code) };
  } finally {
    socket?.destroy();
  }
}

function handshake(url: URL, { ca, cert, key }: TlsMaterial): Promise<TLSSocket> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const socket = connect({
    host,
    port: Number(url.port === '' ? 443 : url.port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    // The certificate is looked at, whatever it is; nothing is sent over this connection.
    rejectUnauthorized: false,
  });
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  socket.once('secureConnect', () => resolve(socket));
  socket.on('error', reject);
  return inTime(promise).catch((error: unknown) => {
    socket.destroy();
    throw error;
  });
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'ETIMEDOUT' });
  const timer = setTimeout(() => reject(late), timeoutMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

const checkName =
  'check the name in urls of this upstream, and the resolver of this machine (/etc/resolv.conf, the cluster’s DNS)';
const checkTls =
  'something there breaks TLS off: check that the port speaks https, and what stands between (a firewall, a proxy)';
const checkClock =
  'check this machine’s clock; if it is right, whoever runs this registry must renew its certificate';

/** By Node's code. */
const connectionMends: Readonly<Record<string, string>> = {
  ECONNREFUSED:
    'nothing listens there: check host and port in urls of this upstream, and whether it runs',
  ENOTFOUND: checkName,
  EAI_AGAIN: checkName,
  ECONNRESET: checkTls,
  EPROTO: checkTls,
  ERR_SSL_WRONG_VERSION_NUMBER: checkTls,
};

/** What to do about a connection that was not made. @param code Node's */
export function mendConnection(code: string = ''): string {
  return (
    connectionMends[code] ??
    'packets may be dropped on the way: check firewall, routes, and whether this network needs an outgoing proxy'
  );
}

/** By OpenSSL's code. */
const certificateMends: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: checkClock,
  CERT_NOT_YET_VALID: checkClock,
  ERR_TLS_CERT_ALTNAME_INVALID:
    'the certificate is for another name: use that name in urls of this upstream',
};

function mendCertificate(code: string): string {
  return (
    certificateMends[code] ??
    'the certificate is by nobody that this machine trusts: set tls.ca of this upstream to the file of its CA, or find out who stands between (a proxy that opens TLS)'
  );
}

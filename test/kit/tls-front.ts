import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { testKey } from './certificates.ts';
import type { ScriptedRegistry } from './scripted-registry.ts';

/** TLS in front of a scripted registry, on one port whose behaviour changes. */
export interface TlsFront extends AsyncDisposable {
  readonly url: string;
  /** Connections that were made to it. */
  readonly connections: number;
  /** Those of them that showed the certificate that is asked for. */
  readonly known: number;
  /** Cuts what is connected, and shows this certificate from now on. */
  present(certificate: string): Promise<void>;
  /** Cuts what is connected, takes connections from now on, and says nothing. */
  fallSilent(): Promise<void>;
}

/** @param askFor the authority of the certificates that clients are asked for, and may do without */
export async function startTlsFront(
  registry: ScriptedRegistry,
  certificate: string,
  askFor?: string,
): Promise<TlsFront> {
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let connections = 0;
  let known = 0;
  let port = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  };
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (server === undefined) return;
    server.close();
    await once(server, 'close');
  };
  const listen = async (next: Server): Promise<void> => {
    await stop();
    server = next;
    next.on('connection', (socket: Socket) => {
      connections += 1;
      keep(socket);
    });
    next.listen(port, '127.0.0.1');
    await once(next, 'listening');
    ({ port } = next.address() as AddressInfo);
  };
  const present = (cert: string): Promise<void> => {
    const asking =
      askFor === undefined ? {} : { requestCert: true, rejectUnauthorized: false, ca: askFor };
    const next = createTlsServer({ key: testKey, cert, ...asking }, (secure) => {
      if (secure.authorized) known += 1;
      const { hostname, port: target } = new URL(registry.url);
      const inner = connect(Number(target), hostname);
      keep(secure);
      keep(inner);
      secure.pipe(inner).pipe(secure);
    });
    // A client that does not like the certificate is what the tests are about.
    next.on('tlsClientError', () => {});
    return listen(next);
  };
  await present(certificate);
  return {
    get url() {
      return `https://127.0.0.1:${port}`;
    },
    get connections() {
      return connections;
    },
    get known() {
      return known;
    },
    present,
    fallSilent: () => listen(createServer()),
    [Symbol.asyncDispose]: stop,
  };
}

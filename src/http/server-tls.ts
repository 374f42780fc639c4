import type { SecureContextOptions, Server as TlsServer, TlsOptions } from 'node:tls';
import type { FastifyInstance } from 'fastify';

/** Certificates of a door, in PEM. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Clients must show a certificate that this one signed. */
  readonly clientCa?: string | undefined;
}

export function httpsOptions(tls: ServerTls): TlsOptions {
  const mustShow = { requestCert: true, rejectUnauthorized: true };
  return { ...contextOptions(tls), ...(tls.clientCa === undefined ? {} : mustShow) };
}

/** New connections get this certificate; those that are open keep the one they began with. */
export function renewCertificate(app: FastifyInstance, tls: ServerTls): void {
  const server = app.server as unknown as TlsServer;
  server.setSecureContext(contextOptions(tls));
}

export function contextOptions({ cert, key, clientCa }: ServerTls): SecureContextOptions {
  return { cert, key, ...(clientCa === undefined ? {} : { ca: clientCa }) };
}

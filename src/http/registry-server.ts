import type { IncomingMessage } from 'node:http';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { RegistryRoutes } from './registry-routes.ts';

/** Certificates of the registry door, in PEM. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Clients must show a certificate that this one signed. */
  readonly clientCa?: string | undefined;
}

/** podman asks for 1,024 ranges in one request: 22.5 kB of header; Node's default is 16 KiB. */
const headerBytesMax = 64 * 1024;

/** Above the 90 s after which Go's clients drop an idle connection, so that they do it and not we. */
const keepAliveTimeoutMs = 95_000;

/** For a whole request, which has no body: slow ones only hold sockets. */
const requestTimeoutMs = 60_000;

/** The registry door: one wildcard, for the path is parsed by hand from the raw target. */
export function registryServer(
  routes: RegistryRoutes,
  tls: ServerTls | undefined,
): FastifyInstance {
  const http = {
    maxHeaderSize: headerBytesMax,
    headersTimeout: requestTimeoutMs,
    noDelay: true,
  };
  const options = {
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: requestTimeoutMs,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle' as const,
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
      handle(request, reply);
    },
  };
  const app = (
    tls === undefined
      ? Fastify({ ...options, http })
      : Fastify({
          ...options,
          https: {
            ...http,
            cert: tls.cert,
            key: tls.key,
            ...(tls.clientCa === undefined
              ? {}
              : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
          },
        })
  ) as FastifyInstance;
  const handle = (request: { raw: IncomingMessage }, reply: FastifyReply): void => {
    reply.hijack();
    void routes.answer(request.raw, reply.raw);
  };
  // Bodies are refused, not read: whatever type they claim, no parser may answer first.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.all('/*', handle);
  app.setNotFoundHandler(handle);
  return app;
}

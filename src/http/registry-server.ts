import type { IncomingMessage } from 'node:http';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { RegistryRoutes } from './registry-routes.ts';
import { httpsOptions, type ServerTls } from './server-tls.ts';

/** podman asks for 1,024 ranges in one request: 22.5 kB of header; Node's default is 16 KiB. */
const headerBytesMax = 64 * 1024;

/** Above the 90 s after which Go's clients drop an idle connection, so that they do it and not we. */
const keepAliveTimeoutMs = 95_000;

/** For a whole request, which has no body: slow ones only hold sockets. */
const requestTimeoutMs = 60_000;

/** At shutdown, how long a connection may be idle after an answer: the next part of a pull comes at once. */
const idleAtShutdownMs = 1_000;

/** Refused connections come in crowds; one line of the log tells of so long. */
const refusalsToldMs = 1_000;

/** The registry door: one wildcard, for the path is parsed by hand from the raw target. */
export function registryServer(
  routes: RegistryRoutes,
  door: {
    readonly tls: ServerTls | undefined;
    /** Of those beyond it that ask for nothing are closed, and the newest is refused. */
    readonly connectionsMax: number;
    /** Told how many were refused, once in a while. */
    readonly onRefused: (connections: number) => void;
  },
): FastifyInstance {
  const { tls } = door;
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
    // At shutdown: a pull that has begun goes on over its connection, which closes after each answer.
    return503OnClosing: false,
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
      handle(request, reply);
    },
  };
  const app = (
    tls === undefined
      ? Fastify({ ...options, http })
      : Fastify({
          ...options,
          https: { ...http, ...httpsOptions(tls) },
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
  if (Number.isFinite(door.connectionsMax)) limitConnections(app, door);
  return app;
}

/** Who comes again finds the place of a connection on which nobody asked anything. */
function limitConnections(
  { server }: FastifyInstance,
  door: { readonly connectionsMax: number; readonly onRefused: (connections: number) => void },
): void {
  let refused = 0;
  let telling: NodeJS.Timeout | undefined;
  server.maxConnections = door.connectionsMax;
  server.on('drop', () => {
    refused += 1;
    server.closeIdleConnections();
    telling ??= setTimeout(() => {
      telling = undefined;
      door.onRefused(refused);
      refused = 0;
    }, refusalsToldMs).unref();
  });
}

/**
 * Stops accepting and lets the answers under way end; what is left at the deadline is cut, by FIN.
 * @returns how many connections were cut
 */
export async function drainRegistryServer(
  app: FastifyInstance,
  deadlineMs: number,
): Promise<number> {
  const { server } = app;
  let cut = 0;
  const deadline = setTimeout(() => {
    server.getConnections((_error, count) => {
      cut = count;
      server.closeAllConnections();
    });
  }, deadlineMs);
  // What is idle now is closed at once; what is busy, this long after its last answer.
  server.keepAliveTimeout = idleAtShutdownMs;
  server.keepAliveTimeoutBuffer = 0;
  try {
    await app.close();
  } finally {
    clearTimeout(deadline);
  }
  return cut;
}

import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import helmet from '@fastify/helmet';
import rateLimit from '@fastify/rate-limit';
import type { FastifyRequest } from 'fastify';
import type { Problem } from '../../api/common.ts';
import { sendProblem } from './problems.ts';
import type { AdminApp } from './server.ts';

/** Requests of one address a minute: a dashboard in ten windows stays far below. */
const requestsPerMinuteMax = 3_000;

/** Health for orchestrators, and the page itself, which holds no data, are open. */
const openPaths = /^\/(?:livez|readyz|favicon\.ico|assets\/[^?]*)?(?:\?|$)/;

/**
 * Who may use the admin door. With a token, only who shows it. Without one it listens on loopback only,
 * where web pages that a person visits are the danger: another site's requests (Origin) and names that
 * were bent to this machine (Host) are refused.
 */
export async function guard(
  app: AdminApp,
  door: { readonly token: () => string | undefined; readonly hosts: readonly string[] },
): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: {
      directives: {
        defaultSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        objectSrc: ["'none'"],
        frameAncestors: ["'none'"],
        // Plain http is usual here; the browser must not make https of it.
        upgradeInsecureRequests: null,
      },
    },
    strictTransportSecurity: false,
    referrerPolicy: { policy: 'no-referrer' },
  });
  app.addHook('onRequest', async (request, reply) => {
    const refusal = siteRefusal(request, door.token(), door.hosts);
    if (refusal !== undefined) await sendProblem(reply, refusal);
  });
  await app.register(rateLimit, {
    global: false,
    max: requestsPerMinuteMax,
    timeWindow: '1 minute',
    errorResponseBuilder: (_request, { after }) =>
      Object.assign(new Error(`Too many requests from your address; again in ${after}`), {
        statusCode: 429,
      }),
  });
  // After what a web page may send in a person's name, which must not use up what that person has; and
  // before the token, which nobody may try out.
  app.addHook('onRequest', app.rateLimit());
  app.addHook('onRequest', async (request, reply) => {
    if (hasToken(request, door.token())) return;
    reply.header('WWW-Authenticate', 'Bearer realm="entrepot admin"');
    await sendProblem(reply, {
      title: 'The admin token is missing or wrong',
      status: 401,
      detail:
        'send it as «Authorization: Bearer …»; on the command line, --token-file names its file',
    });
  });
}

function siteRefusal(
  request: FastifyRequest,
  token: string | undefined,
  hosts: readonly string[],
): Problem | undefined {
  if (isForeign(request.headers.origin, request.headers.host)) {
    return { title: 'Requests of other web sites are refused', status: 403 };
  }
  if (token !== undefined) return undefined;
  const host = hostnameOf(request.headers.host);
  if (isIP(host) !== 0 || host === 'localhost' || hosts.includes(host)) return undefined;
  return {
    title: `The admin API is not reached by the name ${host} without a token`,
    status: 403,
    detail: 'use 127.0.0.1 or localhost, or set admin.token',
  };
}

/** Where one is asked for. */
function hasToken({ url, headers }: FastifyRequest, token: string | undefined): boolean {
  return token === undefined || openPaths.test(url) || isToken(headers.authorization, token);
}

function isForeign(origin: string | undefined, host: string | undefined): boolean {
  if (origin === undefined) return false;
  return !URL.canParse(origin) || new URL(origin).host !== host;
}

function hostnameOf(host: string | undefined): string {
  const url = `http://${host ?? ''}`;
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : '';
}

/** Compared by hashes of equal length, in constant time. A scheme has no case: RFC 9110, 11.1. */
function isToken(header: string | undefined, token: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  const scheme = /^bearer +/i.exec(header ?? '')?.[0];
  const given = scheme === undefined ? '' : (header ?? '').slice(scheme.length);
  return timingSafeEqual(hash(given), hash(token)) && scheme !== undefined;
}

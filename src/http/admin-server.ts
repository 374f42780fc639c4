import { timingSafeEqual, createHash } from 'node:crypto';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Doctor } from '../mirror/doctor.ts';
import { addDoctor } from './admin/doctor.ts';

export interface AdminParts {
  /** Whether the mirror can do its work now, and why not. */
  readonly readiness: () => { readonly ready: boolean; readonly reasons: readonly string[] };
  /** Asked for on everything but the health checks, when there is one. */
  readonly token: string | undefined;
  readonly doctor: Pick<Doctor, 'examine'>;
}

const openPaths = new Set(['/livez', '/readyz']);

/** The admin door: health, and the doctor. */
export function adminServer({ readiness, token, doctor }: AdminParts): FastifyInstance {
  const app = Fastify({ forceCloseConnections: true, exposeHeadRoutes: true });
  app.addHook('onRequest', async (request, reply) => {
    if (
      token === undefined ||
      openPaths.has(request.url) ||
      isToken(request.headers.authorization, token)
    ) {
      return;
    }
    await reply
      .code(401)
      .header('WWW-Authenticate', 'Bearer realm="entrepot admin"')
      .type('application/problem+json')
      .send({ title: 'The admin token is missing or wrong', status: 401 });
  });
  app.get('/livez', () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const { ready, reasons } = readiness();
    await reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not ready', reasons });
  });
  addDoctor(app, doctor);
  return app;
}

/** Compared by hashes of equal length, in constant time. */
function isToken(header: string | undefined, token: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(header ?? ''), hash(`Bearer ${token}`));
}

import { Readable } from 'node:stream';
import { z } from 'zod';
import { AdminProblem } from './problems.ts';
import type { AdminApp } from './server.ts';

/** Methods that change something. */
const changing: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

/**
 * What changes something takes the query and the body that its schema names, and nothing else: a
 * misspelt `dryRun` must not do the real thing. To be called before any route is added.
 */
export function refuseUnknownKeys(app: AdminApp): void {
  app.addHook('onRoute', (route) => {
    const methods = [route.method].flat();
    const { schema } = route;
    if (schema === undefined || !methods.some((method) => changing.has(method))) return;
    route.schema = {
      ...schema,
      ...(schema.querystring instanceof z.ZodObject
        ? { querystring: schema.querystring.strict() }
        : {}),
      ...(schema.body instanceof z.ZodObject ? { body: schema.body.strict() } : {}),
    };
  });
  app.addHook('preValidation', async ({ method, routeOptions, query, body }) => {
    if (!changing.has(method)) return;
    const { schema } = routeOptions;
    if (schema?.querystring === undefined) refuseKeys(query, 'query');
    if (schema?.body === undefined && !(body instanceof Readable)) refuseKeys(body, 'body');
  });
}

/** Of a part of the request that the endpoint has no use for. */
function refuseKeys(part: unknown, name: 'query' | 'body'): void {
  const keys = typeof part === 'object' && part !== null ? Object.keys(part) : [];
  if (keys.length === 0) return;
  throw new AdminProblem(400, `«${keys.join('», «')}» in the ${name} is not known here`);
}

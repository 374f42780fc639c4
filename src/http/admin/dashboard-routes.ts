import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { AdminRoutes } from './server.ts';

/** The page runs its own files, asks its own server, and nothing else. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

const notBuilt = `The dashboard is not built in this checkout: run «npm run build:dashboard» and start again.
The API is at /api/v1, its description at /docs.
`;

/**
 * The dashboard as Vite has built it into `folder`. The page is asked for anew each time; what it names
 * carries a hash of its content in its name and is kept by browsers.
 */
export function dashboardRoutes(folder: string): AdminRoutes {
  return (app) => {
    if (!existsSync(join(folder, 'index.html'))) {
      app.get('/', { schema: { hide: true } }, (_request, reply) =>
        reply.type('text/plain; charset=utf-8').send(notBuilt),
      );
      return;
    }
    void app.register(async (scope) => {
      await scope.register(fastifyStatic, {
        root: join(folder, 'assets'),
        prefix: '/assets/',
        schemaHide: true,
        index: false,
        immutable: true,
        maxAge: '365d',
      });
      scope.get('/', { schema: { hide: true } }, (_request, reply) => {
        reply.header('Content-Security-Policy', contentSecurityPolicy);
        reply.header('Cache-Control', 'no-cache');
        return reply.sendFile('index.html', folder, { cacheControl: false });
      });
    });
  };
}

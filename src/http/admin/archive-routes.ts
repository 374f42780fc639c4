import { Readable } from 'node:stream';
import { z } from 'zod';
import { imported, type Imported } from '../../api/care.ts';
import { problem } from '../../api/common.ts';
import { CollectedWork } from '../../base/collected-work.ts';
import { TarError } from '../../base/tar/tar-reader.ts';
import type { Archives } from '../../mirror/archive/archives.ts';
import { many, parseAdminImage } from './care-routes.ts';
import { AdminProblem } from './problems.ts';
import type { AdminRoutes } from './server.ts';

/** Images in and out as archives. */
export function archiveRoutes(archives: Archives): AdminRoutes {
  return (app) => {
    const tags = ['cache'];
    // The archive is read as it arrives, however large it is.
    const closing = new AbortController();
    app.addHook('preClose', () => closing.abort());
    app.addContentTypeParser('application/x-tar', (_request, payload, done) => done(null, payload));
    app.post(
      '/import',
      {
        schema: {
          tags,
          summary: 'Take in a tar of an OCI layout, of docker save, or of a docker-registry folder',
          querystring: z.object({
            upstream: z.string().max(256).optional().describe('what the folder was a cache of'),
            name: z.string().max(512).optional().describe('for images without a full name'),
          }),
          response: { 200: imported, 400: problem, 503: problem },
        },
      },
      ({ body, query }) => take(archives, body, query, closing.signal),
    );
    app.get(
      '/export',
      {
        schema: {
          tags,
          summary: 'Images as one tar: an OCI layout, or what docker load reads as well',
          querystring: z.object({
            ref: many.describe('image; several are in one archive'),
            format: z.enum(['oci', 'docker']).default('oci'),
            platform: many.describe('os/architecture[/variant]; those that are cached unless told'),
          }),
        },
      },
      async ({ query }, reply) => {
        if (query.ref.length === 0) throw new AdminProblem(400, 'Name an image with ref');
        const archive = await archives.export(query.ref.map(parseAdminImage), {
          format: query.format,
          platforms: query.platform,
        });
        reply.header('Content-Length', archive.sizeBytes);
        reply.type('application/x-tar');
        return reply.send(Readable.from(archive.bytes(), { objectMode: false }));
      },
    );
  };
}

async function take(
  archives: Archives,
  body: unknown,
  options: { readonly upstream?: string | undefined; readonly name?: string | undefined },
  signal: AbortSignal,
): Promise<Imported> {
  if (!(body instanceof Readable)) throw new AdminProblem(400, 'Send a tar as application/x-tar');
  if (options.name !== undefined) parseAdminImage(options.name);
  try {
    const work = new CollectedWork({ signal, isDryRun: false });
    const found = await archives.import(body, options, work);
    return { ...found, images: [...found.images], skipped: [...found.skipped] };
  } catch (error) {
    if (error instanceof TarError) throw new AdminProblem(400, error.message);
    if (body.readableAborted) throw new AdminProblem(400, 'The archive broke off on its way');
    if (signal.aborted) throw new AdminProblem(503, 'The mirror is shutting down; import it again');
    throw error;
  }
}

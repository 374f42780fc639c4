import { z } from 'zod';
import { clientConfig } from '../../api/clients.ts';
import { problem } from '../../api/common.ts';
import { clientFilesOf, clientNames, findMirrorUrl } from '../../clients/client-files.ts';
import { AdminProblem } from './problems.ts';
import type { AdminRoutes } from './server.ts';

export interface ClientSources {
  readonly upstreams: () => readonly string[];
  /** The registry door, such as `http://0.0.0.0:5000`. */
  readonly registryUrl: () => string;
}

/** The files by which clients use this mirror. */
export function clientRoutes({ upstreams, registryUrl }: ClientSources): AdminRoutes {
  return (app) => {
    app.get(
      '/client-config/:client',
      {
        schema: {
          tags: ['status'],
          summary: 'The files that make a client use this mirror',
          params: z.object({ client: z.enum(clientNames) }),
          querystring: z.object({
            mirror: z
              .string()
              .max(512)
              .optional()
              .describe('where clients reach it; by the name of this request unless told'),
          }),
          response: { 200: clientConfig, 400: problem },
        },
      },
      ({ params, query, hostname }) => {
        const mirror =
          query.mirror === undefined
            ? reachedBy(hostname, registryUrl())
            : findMirrorUrl(query.mirror);
        if (mirror === undefined) {
          throw new AdminProblem(
            400,
            `«${query.mirror}» is no address; write for example http://10.0.0.5:5000`,
          );
        }
        const files = clientFilesOf(params.client, { mirror, upstreams: upstreams() });
        return { mirror: mirror.href.replace(/\/$/, ''), files };
      },
    );
  };
}

/** A door that is open at every address is reached by the name that this one was reached by. */
function reachedBy(hostname: string, registryUrl: string): URL {
  const url = new URL(registryUrl);
  if (url.hostname === '0.0.0.0' || url.hostname === '[::]') url.hostname = hostname;
  return url;
}

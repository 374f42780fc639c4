import { createHash } from 'node:crypto';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Observe } from '../../base/events.ts';
import type { ReadinessAnswer } from '../../mirror/readiness.ts';
import { describeProblems } from './description.ts';
import { answerProblems, refusalOf, sendProblem } from './problems.ts';
import { httpsOptions, type ServerTls } from '../server-tls.ts';
import { guard } from './security.ts';
import { EventStreams } from './sse.ts';
import { refuseUnknownKeys } from './strictness.ts';

/** The admin door's fastify, whose routes are typed by their zod schemas. */
export type AdminApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** One area of the admin API: adds its routes, below `/api/v1` when it is registered there. */
export type AdminRoutes = (app: AdminApp, streams: EventStreams) => void;

export interface AdminParts {
  /** Whether the mirror can do its work now, and why not. */
  readonly readiness: () => Promise<ReadinessAnswer>;
  /** Asked for on everything that holds data, when there is one. */
  readonly token: () => string | undefined;
  readonly tls: ServerTls | undefined;
  /** Names by which this door may be reached without a token. */
  readonly hosts: readonly string[];
  readonly version: string;
  readonly observe: Observe;
  /** Below `/api/v1`. */
  readonly api: readonly AdminRoutes[];
  /** At the root: metrics, the dashboard. */
  readonly root: readonly AdminRoutes[];
}

/** The longest repository name, escaped. */
const parameterLengthMax = 2_048;

const bodyBytesMax = 1024 * 1024;

const alive = z.object({ status: z.literal('ok') });

const readiness = z.object({
  status: z.enum(['ready', 'not ready']),
  reasons: z.array(z.string()).describe('why not'),
  warnings: z.array(z.string()).describe('what works less well; clients are served all the same'),
});

/** The admin door: health, the API with its description, and what is registered beside it. */
export async function adminServer(parts: AdminParts): Promise<FastifyInstance> {
  const options = {
    forceCloseConnections: true,
    exposeHeadRoutes: true,
    bodyLimit: bodyBytesMax,
    frameworkErrors: (error: FastifyError, _request: unknown, reply: FastifyReply) =>
      void sendProblem(reply, refusalOf(error)),
    routerOptions: { maxParamLength: parameterLengthMax, ignoreTrailingSlash: true },
  };
  const { tls } = parts;
  const server = (
    tls === undefined ? Fastify(options) : Fastify({ ...options, https: httpsOptions(tls) })
  ) as FastifyInstance;
  const app = server.withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  const streams = new EventStreams();
  app.addHook('preClose', () => streams.close());
  answerProblems(app, parts.observe);
  refuseUnknownKeys(app);
  takeEmptyBodies(app);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Entrepot admin API',
        version: parts.version,
        description: 'Watches and steers an Entrepot mirror. Errors are RFC 9457 problems.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      ...(parts.token() === undefined ? {} : { security: [{ token: [] }] }),
    },
    transform: jsonSchemaTransform,
    transformObject: (document) =>
      'openapiObject' in document
        ? describeProblems(document.openapiObject)
        : document.swaggerObject,
  });
  await guard(app, parts);
  addHealth(app, parts);
  for (const routes of parts.root) routes(app, streams);
  await app.register(
    (scope, _options, done) => {
      scope.addHook('onSend', addContentDigest);
      for (const routes of parts.api) routes(scope.withTypeProvider<ZodTypeProvider>(), streams);
      done();
    },
    { prefix: '/api/v1' },
  );
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: false });
  return app;
}

/** Clients name JSON as the type of every POST, also of those that send nothing. */
function takeEmptyBodies(app: AdminApp): void {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser<string>(
    'application/json',
    { parseAs: 'string' },
    (request, body, done) => {
      if (body.trim() === '') done(null, undefined);
      else void parseJson(request, body, done);
    },
  );
}

function addHealth(app: AdminApp, parts: AdminParts): void {
  app.get(
    '/livez',
    { schema: { tags: ['health'], summary: 'The process runs', response: { 200: alive } } },
    () => ({ status: 'ok' as const }),
  );
  app.get(
    '/readyz',
    {
      schema: {
        tags: ['health'],
        summary: 'Whether clients should be sent here, and why not',
        response: { 200: readiness, 503: readiness },
      },
    },
    async (_request, reply) => {
      const { isReady, reasons, warnings } = await parts.readiness();
      return reply.code(isReady ? 200 : 503).send({
        status: isReady ? 'ready' : 'not ready',
        reasons: [...reasons],
        warnings: [...warnings],
      });
    },
  );
}

/** Another site finds out by it when the line has changed what it reads. Source: RFC 9530. */
async function addContentDigest(
  _request: unknown,
  reply: FastifyReply,
  payload: unknown,
): Promise<unknown> {
  if (typeof payload === 'string') {
    const digest = createHash('sha256').update(payload).digest('base64');
    reply.header('content-digest', `sha-256=:${digest}:`);
  }
  return payload;
}

import { z } from 'zod';
import { problem, shortPageQuery } from '../../api/common.ts';
import { history, stats, type History, type Stats } from '../../api/stats.ts';
import { upstreamPage, type Upstream } from '../../api/upstreams.ts';
import { pageOfList } from './list-pages.ts';
import type { AdminRoutes } from './server.ts';
import type { Subscribe } from './sse.ts';

/** What the status pages show; filled by `app.ts` from the parts that know. */
export interface StatusSources {
  readonly stats: () => Promise<Stats>;
  readonly history: (window: string) => History;
  readonly upstreams: () => Upstream[];
  /** The effective configuration as YAML, secrets as the places where they are. */
  readonly config: () => string;
  readonly events: Subscribe;
  readonly logLevel: { get(): string; set(level: string): void };
}

const logLevel = z.object({ level: z.enum(['trace', 'debug', 'info', 'warn', 'error']) });

/** Numbers, upstreams, the configuration, the stream of events. */
export function statusRoutes(sources: StatusSources): AdminRoutes {
  return (app, streams) => {
    app.get(
      '/stats',
      {
        schema: {
          tags: ['status'],
          summary:
            'What was served, fetched and saved since the start; the disk; what is under way',
          response: { 200: stats },
        },
      },
      () => sources.stats(),
    );
    app.get(
      '/stats/events',
      {
        schema: {
          tags: ['status'],
          summary: 'The same once a second, as server-sent events',
          produces: ['text/event-stream'],
        },
      },
      (request, reply) => streams.answer(request, reply, tellEverySecond(sources.stats)),
    );
    app.get(
      '/stats/history',
      {
        schema: {
          tags: ['status'],
          summary: 'The same over time: by minute for a day, by hour for a month',
          querystring: z.object({
            window: z
              .string()
              .regex(/^\d{1,4}[mhd]$/, 'write for example 30m, 24h or 7d')
              .default('24h'),
          }),
          response: { 200: history, 400: problem },
        },
      },
      ({ query }) => sources.history(query.window),
    );
    app.get(
      '/upstreams',
      {
        schema: {
          tags: ['status'],
          summary: 'Health and pull quota of each upstream',
          querystring: shortPageQuery,
          response: { 200: upstreamPage, 400: problem },
        },
      },
      ({ query }) => pageOfList(sources.upstreams(), ({ name }) => name, query),
    );
    app.get(
      '/config',
      {
        schema: {
          tags: ['status'],
          summary: 'The configuration in effect, as YAML; secrets are never shown',
          response: { 200: z.object({ yaml: z.string() }) },
        },
      },
      () => ({ yaml: sources.config() }),
    );
    app.get(
      '/log-level',
      { schema: { tags: ['status'], summary: 'How much is logged', response: { 200: logLevel } } },
      () => logLevel.parse({ level: sources.logLevel.get() }),
    );
    app.put(
      '/log-level',
      {
        schema: {
          tags: ['status'],
          summary: 'Log more or less, until the next start',
          body: logLevel,
          response: { 200: logLevel, 400: problem },
        },
      },
      ({ body }) => {
        sources.logLevel.set(body.level);
        return body;
      },
    );
    app.get(
      '/events',
      {
        schema: {
          tags: ['status'],
          summary: 'What happens, as server-sent events',
          produces: ['text/event-stream'],
        },
      },
      (request, reply) => streams.answer(request, reply, sources.events),
    );
  };
}

/** The next is asked for a second after the last was had, however long that took. */
function tellEverySecond(read: () => Promise<Stats>): Subscribe {
  return (send, end) => {
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const tell = async (): Promise<void> => {
      send({ event: 'stats', data: await read(), replaces: true });
      if (!isOver) timer = setTimeout(start, 1000);
    };
    const start = (): void => void tell().catch(end);
    start();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  };
}

/** Prometheus. */
export function metricsRoute(render: () => Promise<string>): AdminRoutes {
  return (app) => {
    app.get('/metrics', { schema: { hide: true } }, async (_request, reply) =>
      reply.type('text/plain; version=0.0.4; charset=utf-8').send(await render()),
    );
  };
}

import { z } from 'zod';
import { limitMax, problem, shortPageQuery } from '../../api/common.ts';
import { run, type Run } from '../../api/runs.ts';
import {
  changePage,
  syncStatus,
  syncVerification,
  type Change,
  type SyncStatus,
  type SyncVerification,
} from '../../api/sync.ts';
import { pageOfList } from './list-pages.ts';
import { AdminProblem } from './problems.ts';
import type { AdminRoutes } from './server.ts';

/** The log of changes that other sites follow. */
export interface ChangeFeed {
  readonly id: string;
  readonly latest: number;
  reaches(seq: number): boolean;
  since(seq: number, limit: number): Change[];
  after(seq: number, waitMs: number, signal: AbortSignal): Promise<void>;
}

/** This site as a follower of a primary. */
export interface SiteSync {
  status(): SyncStatus;
  verify(rule: string | undefined, signal: AbortSignal): Promise<SyncVerification>;
  /** @returns undefined for a rule that does not exist. @throws AdminProblem 503 when too many wait */
  run(rule: string, isDryRun: boolean): Run | undefined;
}

/** Proxies cut what is silent for longer. */
const waitSecondsMax = 55;

export function syncRoutes(feed: ChangeFeed, site: SiteSync): AdminRoutes {
  const ruleNames = (): string[] => site.status().items.map(({ name }) => name);
  return (app) => {
    const tags = ['sites'];
    app.get(
      '/changes',
      {
        schema: {
          tags,
          summary: 'What changed here after a number, in order; waits when asked to',
          querystring: z.object({
            since: z.coerce.number().int().min(0).default(0),
            wait: z
              .string()
              .regex(/^\d{1,2}s?$/, 'write for example 30s')
              .optional(),
            limit: z.coerce.number().int().min(1).max(limitMax).default(100),
            log: z.string().max(64).optional().describe('the log that `since` is a number of'),
            latest: z.stringbool().default(false).describe('only the number of the newest change'),
          }),
          response: { 200: changePage, 400: problem, 410: problem },
        },
      },
      async (request, reply) => {
        const { since, limit, log = feed.id, latest: isLatestOnly } = request.query;
        if (isLatestOnly) return { items: [], next: null, latest: feed.latest, log: feed.id };
        const refuseGap = (): void => {
          if (log === feed.id && feed.reaches(since)) return;
          throw new AdminProblem(
            410,
            `The log does not reach back to ${since}: compare /api/v1/repositories and their tags, then go on with since=${feed.latest}`,
          );
        };
        refuseGap();
        const seconds = Math.min(parseInt(request.query.wait ?? '0', 10), waitSecondsMax);
        const left = new AbortController();
        reply.raw.once('close', () => left.abort());
        await feed.after(since, seconds * 1000, left.signal);
        const items = feed.since(since, limit);
        // It may have begun anew meanwhile.
        refuseGap();
        const last = items.at(-1)?.seq ?? since;
        return { items, next: String(last), latest: feed.latest, log: feed.id };
      },
    );
    app.get(
      '/sync',
      {
        schema: {
          tags,
          summary: 'The rules that copy from the primary, and how far behind they are',
          querystring: shortPageQuery,
          response: { 200: syncStatus, 400: problem },
        },
      },
      ({ query }) => {
        const status = site.status();
        return { ...status, ...pageOfList(status.items, ({ name }) => name, query) };
      },
    );
    app.post(
      '/sync/:rule',
      {
        schema: {
          tags,
          summary: 'Run a rule now',
          params: z.object({ rule: z.string().max(256) }),
          querystring: z.object({ dryRun: z.stringbool().default(false) }),
          response: { 202: run, 400: problem, 404: problem, 503: problem },
        },
      },
      async ({ params, query }, reply) => {
        const started = site.run(params.rule, query.dryRun);
        if (started !== undefined) return reply.code(202).send(started);
        throw noRule(params.rule, ruleNames());
      },
    );
    app.get(
      '/sync/verify',
      {
        schema: {
          tags,
          summary: 'Compare this site with its primary, digest by digest',
          querystring: z.object({ rule: z.string().max(256).optional() }),
          response: { 200: syncVerification, 404: problem, 503: problem },
        },
      },
      async (request, reply) => {
        const { rule } = request.query;
        const names = ruleNames();
        // What compares nothing must not say that all is equal.
        if (names.length === 0 || (rule !== undefined && !names.includes(rule))) {
          throw noRule(rule, names);
        }
        const left = new AbortController();
        reply.raw.once('close', () => left.abort());
        return site.verify(rule, left.signal);
      },
    );
  };
}

function noRule(name: string | undefined, names: readonly string[]): AdminProblem {
  if (names.length === 0) {
    return new AdminProblem(404, 'This server has no sync rules: see site in its configuration');
  }
  return new AdminProblem(404, `There is no rule ${name}; the rules are ${names.join(', ')}`);
}

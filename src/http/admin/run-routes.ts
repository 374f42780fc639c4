import { z } from 'zod';
import { pageQuery, problem, shortPageQuery } from '../../api/common.ts';
import {
  jobPage,
  prewarmRequest,
  run,
  runPage,
  runWithLog,
  type Job,
  type Run,
  type RunWithLog,
} from '../../api/runs.ts';
import { parseImagePattern } from '../../mirror/select/images.ts';
import { timetableText } from '../../schedule/cron.ts';
import { isEnded, type RunRecord } from '../../schedule/run.ts';
import type { JobState, Scheduler } from '../../schedule/scheduler.ts';
import { pageOfList } from './list-pages.ts';
import { AdminProblem } from './problems.ts';
import type { AdminRoutes } from './server.ts';

/** The job that fetches what a person names. */
export const prewarmByHand = 'prewarm';

export type StartRun = (job: string, options: { isDryRun: boolean; parameters?: unknown }) => Run;

/** Starts a job by hand. Throws AdminProblem 404 and 503. */
export function runStarter(scheduler: Scheduler): StartRun {
  return (name, options) => {
    if (!scheduler.has(name))
      throw new AdminProblem(404, `There is no job ${name}; /api/v1/jobs lists them`);
    const record = scheduler.start(name, { trigger: 'manual', ...options });
    if (record !== undefined) return runShape(record);
    throw new AdminProblem(503, 'Too many runs wait already; cancel some, or come back later');
  };
}

/** Jobs, their runs, and fetching by hand. */
export function runRoutes(scheduler: Scheduler): AdminRoutes {
  const start = runStarter(scheduler);
  const find = (id: string): RunRecord => {
    const record = scheduler.run(id);
    if (record !== undefined) return record;
    throw new AdminProblem(404, `There is no run ${id}; /api/v1/runs lists them`);
  };
  return (app, streams) => {
    const tags = ['jobs'];
    const id = z.object({ id: z.string().max(128) });
    app.get(
      '/jobs',
      {
        schema: {
          tags,
          summary: 'What can be run, and when it is',
          querystring: shortPageQuery,
          response: { 200: jobPage, 400: problem },
        },
      },
      ({ query }) => pageOfList(scheduler.jobs().map(jobShape), ({ name }) => name, query),
    );
    app.post(
      '/jobs/:name/run',
      {
        schema: {
          tags,
          summary: 'Run a job now',
          params: z.object({ name: z.string().max(256) }),
          querystring: z.object({ dryRun: z.stringbool().default(false) }),
          response: { 202: run, 400: problem, 404: problem, 503: problem },
        },
      },
      async ({ params, query }, reply) => {
        if (params.name === prewarmByHand) {
          throw new AdminProblem(400, 'Name the images: POST /api/v1/prewarm');
        }
        return reply.code(202).send(start(params.name, { isDryRun: query.dryRun }));
      },
    );
    app.get(
      '/runs',
      {
        schema: {
          tags,
          summary: 'Runs, those under way first, then the newest',
          querystring: pageQuery.extend({ job: z.string().max(256).optional() }),
          response: { 200: runPage, 400: problem },
        },
      },
      ({ query }) => {
        const all = scheduler
          .runs()
          .filter(({ job: name }) => query.job === undefined || query.job === name);
        const { items, next } = pageOfList(all, ({ id: runId }) => runId, query);
        return { items: items.map(runShape), next };
      },
    );
    app.get(
      '/runs/:id',
      {
        schema: {
          tags,
          summary: 'One run with its log',
          params: id,
          response: { 200: runWithLog, 404: problem },
        },
      },
      ({ params }) => runWithLogShape(find(params.id)),
    );
    app.delete(
      '/runs/:id',
      {
        schema: {
          tags,
          summary: 'Cancel a run; it ends at its next object',
          params: id,
          response: { 202: run, 404: problem, 409: problem },
        },
      },
      async ({ params }, reply) => {
        const record = find(params.id);
        if (!scheduler.cancel(params.id)) {
          throw new AdminProblem(409, `The run has ended already: ${record.state}`);
        }
        return reply.code(202).send(runShape(find(params.id)));
      },
    );
    app.get(
      '/runs/:id/events',
      {
        schema: {
          tags,
          summary: 'The run as it goes, as server-sent events; ends with it',
          produces: ['text/event-stream'],
          params: id,
        },
      },
      (request, reply) => {
        const { params } = request;
        find(params.id);
        streams.answer(request, reply, (send, end) => {
          const tell = (record: RunRecord): void => {
            send({ event: 'run', data: runWithLogShape(record) });
            if (isEnded(record.state)) end();
          };
          const unfollow = scheduler.follow(params.id, tell);
          tell(find(params.id));
          return unfollow;
        });
      },
    );
    app.post(
      '/prewarm',
      {
        schema: {
          tags,
          summary: 'Fetch images now',
          body: prewarmRequest,
          response: { 202: run, 400: problem, 503: problem },
        },
      },
      async ({ body }, reply) => {
        const { dryRun, ...parameters } = body;
        for (const image of body.images) checkImage(image);
        return reply.code(202).send(start(prewarmByHand, { isDryRun: dryRun, parameters }));
      },
    );
  };
}

function checkImage(image: string): void {
  try {
    parseImagePattern(image);
  } catch (error) {
    throw new AdminProblem(400, (error as Error).message);
  }
}

export function runShape(record: RunRecord): Run {
  const { progress, startedMs, endedMs } = record;
  const seconds = startedMs === undefined ? 0 : ((endedMs ?? Date.now()) - startedMs) / 1000;
  const bytes = progress.bytesFetched > 0 ? progress.bytesFetched : progress.bytesDone;
  const bytesPerSecond = seconds > 0 ? bytes / seconds : 0;
  const restBytes = progress.bytesTotal - progress.bytesDone + unseenBytes(record);
  const isMoving = record.state === 'running' && bytesPerSecond > 0;
  return {
    id: record.id,
    job: record.job,
    trigger: record.trigger,
    state: record.state,
    reason: record.reason ?? null,
    isDryRun: record.isDryRun,
    progress,
    bytesPerSecond,
    secondsLeft: isMoving ? Math.max(0, restBytes / bytesPerSecond) : null,
    queuedAt: timeText(record.queuedMs),
    startedAt: startedMs === undefined ? null : timeText(startedMs),
    endedAt: endedMs === undefined ? null : timeText(endedMs),
    errors: [...record.errors],
  };
}

/** Images that the run has not come to yet are taken to be as large as those before. */
function unseenBytes({ progress }: RunRecord): number {
  const seen = progress.imagesDone + 1;
  return Math.max(0, progress.imagesTotal - seen) * (progress.bytesTotal / seen);
}

function runWithLogShape(record: RunRecord): RunWithLog {
  const log = record.log.map(({ atMs, text }) => ({ at: timeText(atMs), text }));
  return { ...runShape(record), log };
}

function jobShape({ name, summary, timetable, nextMs, lastRun }: JobState): Job {
  return {
    name,
    summary,
    schedule: timetable === undefined ? null : timetableText(timetable),
    timeZone: (timetable !== undefined && 'cron' in timetable && timetable.timeZone) || null,
    nextAt: nextMs === undefined ? null : timeText(nextMs),
    lastRun: lastRun === undefined ? null : runShape(lastRun),
  };
}

function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

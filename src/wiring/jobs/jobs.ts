import type { Config } from '../../config/schema.ts';
import { prewarmRequest } from '../../api/runs.ts';
import { gcJob, gcParameters, scrubJob } from '../../http/admin/care-routes.ts';
import { prewarmByHand } from '../../http/admin/run-routes.ts';
import type { Job } from '../../schedule/scheduler.ts';
import { prewarmJob, type PrewarmJobParts } from './prewarm-job.ts';

/** Pulls of others show within this time; a HEAD to each upstream that has a quota. */
const quotaEveryMs = 15 * 60_000;

/** The jobs of a configuration. */
export function jobsOf(config: Config, parts: PrewarmJobParts): Job[] {
  const { mirror, popularity } = parts;
  return [
    {
      name: prewarmByHand,
      summary: 'Fetches images that somebody names',
      run: async (work, parameters) => {
        const { images, platforms, referrers } = prewarmRequest.parse(parameters);
        await mirror.prewarm({ images, platforms, referrers }, work);
      },
    },
    {
      name: scrubJob,
      summary: 'Reads everything that is stored, and mends what has changed',
      timetable: { cron: config.storage.verify.scrub },
      run: (work) => mirror.care.scrub(work),
    },
    {
      name: gcJob,
      summary: 'Removes content and names that nothing refers to',
      timetable: { cron: config.storage.gc.schedule },
      run: async (work, parameters) => {
        const { untaggedMs = config.storage.gc.untaggedMs } = gcParameters.parse(parameters ?? {});
        await mirror.care.collectGarbage(untaggedMs, work);
      },
    },
    {
      name: 'quota',
      summary: 'Asks the upstreams that limit pulls how many are left',
      timetable: { everyMs: quotaEveryMs, jitterMs: 60_000 },
      run: (work) =>
        mirror.probeQuotas(
          (registry) => popularity.top(1, (repository) => repository.registry === registry)[0],
          work,
        ),
    },
    ...config.prewarm.map((settings) => prewarmJob(settings, parts)),
  ];
}

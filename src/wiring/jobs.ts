import type { Clock } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { Config } from '../config/schema.ts';
import { prewarmRequest } from '../api/runs.ts';
import { prewarmByHand } from '../http/admin/run-routes.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { PrewarmRule } from '../mirror/prewarm/prewarm.ts';
import type { TimeWindow } from '../mirror/prewarm/window.ts';
import { gcJob, gcParameters, scrubJob } from '../http/admin/care-routes.ts';
import type { Job } from '../schedule/scheduler.ts';

type RuleSettings = Config['prewarm'][number];

/** The jobs of a configuration. */
export function jobsOf(config: Config, parts: { mirror: Mirror; clock: Clock }): Job[] {
  const { mirror, clock } = parts;
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
    ...config.prewarm.map((settings) => prewarmJob(settings, mirror, clock)),
  ];
}

function prewarmJob(settings: RuleSettings, mirror: Mirror, clock: Clock): Job {
  const { name, images, schedule, pin } = settings;
  const rule = ruleOf(settings, clock);
  return {
    name: `${prewarmByHand}:${name}`,
    summary: `Fetches ${images.length === 1 ? images[0] : `${images.length} images`} before anybody asks`,
    timetable:
      schedule === undefined
        ? undefined
        : { cron: schedule, timeZone: settings.timeZone, jitterMs: settings.jitterMs },
    run: async (work) => {
      const warmed = await mirror.prewarm(rule, work);
      if (!pin || work.isDryRun) return;
      for (const { repository, reference } of warmed) {
        await mirror.care.pins.pin(repository, reference);
      }
    },
  };
}

function ruleOf(settings: RuleSettings, clock: Clock): PrewarmRule {
  const { images, platforms, newest, referrers, keepQuota, window } = settings;
  const { bandwidthBytesPerSecond } = settings;
  return {
    images,
    platforms,
    newest,
    referrers,
    keepQuota,
    window: window === undefined ? undefined : timeWindow(window, clock),
    bandwidth:
      bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
  };
}

/** `01:00-06:00`, as the configuration has checked it. */
export function timeWindow(text: string, clock: Clock): TimeWindow {
  const [fromMinute = 0, toMinute = 0] = text.split('-').map((time) => {
    const [hour = 0, minute = 0] = time.split(':').map(Number);
    return hour * 60 + minute;
  });
  return { fromMinute, toMinute, clock };
}

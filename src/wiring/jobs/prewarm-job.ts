import type { Clock } from '../../base/clock.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import type { Config } from '../../config/schema.ts';
import { prewarmByHand } from '../../http/admin/run-routes.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import type { Popularity } from '../../mirror/prewarm/popularity.ts';
import type { PrewarmRule } from '../../mirror/prewarm/prewarm.ts';
import type { TimeWindow } from '../../mirror/prewarm/window.ts';
import { repositoryKey } from '../../oci/reference.ts';
import type { Job } from '../../schedule/scheduler.ts';

type RuleSettings = Config['prewarm'][number];

/** The jobs of the rules that pin what they select: the holders that pins may have. */
export function pinningJobs({ prewarm }: Config): Set<string> {
  return new Set(prewarm.filter(({ pin }) => pin).map(({ name }) => nameOf(name)));
}

export interface PrewarmJobParts {
  readonly mirror: Mirror;
  readonly clock: Clock;
  readonly popularity: Popularity;
  /** Whether the job of that name is of a rule that pins by the configuration in effect. */
  readonly mayPin: (job: string) => boolean;
}

/** The job of a rule. */
export function prewarmJob(
  settings: RuleSettings,
  { mirror, clock, popularity, mayPin }: PrewarmJobParts,
): Job {
  const { images = [], popular, pin } = settings;
  const name = nameOf(settings.name);
  const topImages = (count: number): string[] =>
    popularity
      .top(count, ({ registry }) => mirror.has(registry))
      .map(({ repository, tag }) => `${repositoryKey(repository)}:${tag}`);
  const of = ruleOf(settings, clock);
  const what = images.length === 1 ? images[0] : `${images.length} images`;
  return {
    name,
    summary:
      popular === undefined
        ? `Fetches ${what} before anybody asks`
        : `Keeps the ${popular.top} tags that clients pull most as fresh as upstream has them`,
    timetable: timetableOf(settings),
    run: async (work) => {
      const rule = popular === undefined ? of : { ...of, images: topImages(popular.top) };
      if (!pin) {
        await mirror.prewarm(rule, work);
        return;
      }
      try {
        await warmAndPin(mirror, name, rule, work);
      } finally {
        // Another configuration may have come while it ran.
        if (!mayPin(name)) await mirror.care.pins.releaseOthers(name, []);
      }
    },
  };
}

function timetableOf({ schedule, popular, timeZone, jitterMs }: RuleSettings): Job['timetable'] {
  if (popular !== undefined) return { everyMs: popular.everyMs, jitterMs };
  return schedule === undefined ? undefined : { cron: schedule, timeZone, jitterMs };
}

/** Holds what the rule selects, and lets go of what it selected before and no longer does. */
async function warmAndPin(
  mirror: Mirror,
  job: string,
  rule: PrewarmRule,
  work: Work,
): Promise<void> {
  const { pins } = mirror.care;
  const { selected, isSelectionWhole } = await mirror.prewarm(
    rule,
    work,
    ({ repository, reference, manifests }) => pins.hold(repository, reference, manifests[0]!, job),
  );
  // What could not be listed may still be wanted.
  if (isSelectionWhole && !work.isDryRun) await pins.releaseOthers(job, selected);
}

function nameOf(rule: string): string {
  return `${prewarmByHand}:${rule}`;
}

function ruleOf(settings: RuleSettings, clock: Clock): PrewarmRule {
  const { images = [], platforms, newest, referrers, keepQuota, window } = settings;
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

import type { Clock } from '../../base/clock.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import type { Config } from '../../config/schema.ts';
import { prewarmByHand } from '../../http/admin/run-routes.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import type { PrewarmRule } from '../../mirror/prewarm/prewarm.ts';
import type { TimeWindow } from '../../mirror/prewarm/window.ts';
import type { Job } from '../../schedule/scheduler.ts';

type RuleSettings = Config['prewarm'][number];

/** The jobs of the rules that pin what they select: the holders that pins may have. */
export function pinningJobs({ prewarm }: Config): Set<string> {
  return new Set(prewarm.filter(({ pin }) => pin).map(({ name }) => nameOf(name)));
}

/** The job of a rule. */
export function prewarmJob(
  settings: RuleSettings,
  { mirror, clock }: { readonly mirror: Mirror; readonly clock: Clock },
): Job {
  const { images, schedule, pin } = settings;
  const name = nameOf(settings.name);
  const rule = ruleOf(settings, clock);
  return {
    name,
    summary: `Fetches ${images.length === 1 ? images[0] : `${images.length} images`} before anybody asks`,
    timetable:
      schedule === undefined
        ? undefined
        : { cron: schedule, timeZone: settings.timeZone, jitterMs: settings.jitterMs },
    run: async (work) => {
      if (pin) await warmAndPin(mirror, name, rule, work);
      else await mirror.prewarm(rule, work);
    },
  };
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

import type { Clock } from '../../base/clock.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import type { Config } from '../../config/schema.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { entrepotSource, registrySource } from '../../mirror/replicate/sources.ts';
import { Sync, type SyncRule, type SyncSource } from '../../mirror/replicate/sync.ts';
import type { CronTimetable } from '../../schedule/cron.ts';
import { timeWindow } from '../jobs/prewarm-job.ts';
import type { OpenPrimary } from '../primary.ts';
import { selectionOf, type ConfiguredRule, type SiteRule } from './rule.ts';

type SyncSettings = NonNullable<Config['site']>['sync'][number];

/** A plain registry has no feed: it is asked so often, unless its rule has a schedule. */
const pollSchedule = '*/5 * * * *';

/** The rules that copy from the primary. */
export function syncRules(
  config: Config,
  parts: {
    readonly clock: Clock;
    readonly mirror: Mirror;
    readonly primary: OpenPrimary | undefined;
  },
): ConfiguredRule[] {
  const { clock, mirror, primary } = parts;
  if (primary === undefined) return [];
  const source = sourceOf(primary, config);
  const open = (settings: SyncSettings): SiteRule => {
    const rule = ruleOf(settings, clock);
    return {
      name: rule.name,
      direction: 'from',
      peer: primary.url,
      repositories: rule.repositories,
      summary: `Copies ${rule.repositories.join(', ')} from the primary`,
      timetable: timetableOf(settings, primary),
      feed: settings.follow ? primary.admin : undefined,
      wants: ({ kind, repository }) =>
        (kind !== 'delete' || rule.deletions === 'propagate') && Sync.selects(rule, repository),
      run: (deliveries, work, only) => mirror.sync.run(rule, source, deliveries, work, only),
      differences: (signal) => mirror.sync.differences(rule, source, signal),
      close: () => Promise.resolve(),
    };
  };
  return (config.site?.sync ?? []).map((settings) => ({
    name: settings.name,
    settings,
    open: () => open(settings),
  }));
}

function sourceOf(primary: OpenPrimary, { defaultUpstream }: Config): SyncSource {
  if (primary.admin !== undefined) return entrepotSource(primary.admin);
  return registrySource({
    upstreamOf: (registry) => primary.find(registry),
    // Its catalog is the same, whatever registry is asked for.
    catalog: async (signal) =>
      (await primary.find(defaultUpstream)?.catalog({ signal })) ?? {
        items: [],
        missing: undefined,
      },
  });
}

function timetableOf(
  { schedule, timeZone, jitterMs, follow }: SyncSettings,
  { admin }: OpenPrimary,
): CronTimetable | undefined {
  const cron = schedule ?? (follow && admin === undefined ? pollSchedule : undefined);
  return cron === undefined ? undefined : { cron, timeZone, jitterMs };
}

function ruleOf(settings: SyncSettings, clock: Clock): SyncRule {
  const { bandwidthBytesPerSecond, tags, window } = settings;
  return {
    name: settings.name,
    repositories: settings.repositories,
    tags: selectionOf(tags),
    platforms: settings.platforms,
    referrers: settings.referrers,
    deletions: settings.deletions,
    window: window === undefined ? undefined : timeWindow(window, clock),
    bandwidth:
      bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
  };
}

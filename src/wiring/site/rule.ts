import type { Work } from '../../base/work.ts';
import type { Config } from '../../config/schema.ts';
import type { Deliveries, Subject } from '../../mirror/replicate/deliveries.ts';
import type { ReplicationParts } from '../../mirror/replicate/replication.ts';
import type { Difference } from '../../mirror/replicate/sync.ts';
import type { TagSelection } from '../../mirror/select/tags.ts';
import type { CronTimetable } from '../../schedule/cron.ts';

/** A rule between this site and another one, as it is configured. */
export interface SiteRule extends Pick<ReplicationParts, 'feed' | 'wants'> {
  readonly name: string;
  /** Whether it copies from the primary, or sends to another registry. */
  readonly direction: 'from' | 'to';
  /** The URL of the other side. */
  readonly peer: string;
  readonly repositories: readonly string[];
  readonly summary: string;
  readonly timetable: CronTimetable | undefined;
  /** @param only undefined: all that the rule selects */
  run(deliveries: Deliveries, work: Work, only: readonly Subject[] | undefined): Promise<void>;
  differences(signal: AbortSignal): AsyncIterable<Difference>;
  close(): Promise<void>;
}

/** A rule of a configuration that is not at work yet. */
export interface ConfiguredRule {
  readonly name: string;
  /** By which it is seen whether it is still the same. */
  readonly settings: unknown;
  open(): SiteRule;
}

type Selection = NonNullable<Config['site']>['sync'][number]['tags'];

export function selectionOf({ include, exclude, newest }: Selection): TagSelection {
  return { include, exclude, newest };
}

import { Cron } from 'croner';
import { formatDuration } from '../base/units.ts';

/** When a job runs by itself. */
export type Timetable = CronTimetable | IntervalTimetable;

export interface CronTimetable {
  /** Five fields, or six with seconds first; see croner. */
  readonly cron: string;
  /** IANA name, such as Asia/Shanghai; undefined: the machine's. */
  readonly timeZone?: string | undefined;
  /** Each start is put off by up to this, at random, so that many mirrors do not knock together. */
  readonly jitterMs?: number | undefined;
}

export interface IntervalTimetable {
  /** From one start to the next; more than 0. */
  readonly everyMs: number;
  readonly jitterMs?: number | undefined;
}

/**
 * The first moment after another, by the wall clock in milliseconds; undefined when there is none. A
 * time that daylight saving skips is run when the clocks have gone on, one that it repeats runs once.
 * @throws RangeError for a timetable that cannot be
 */
export function nextTime(timetable: Timetable, afterMs: number): number | undefined {
  if ('everyMs' in timetable) return afterMs + timetable.everyMs;
  const { cron, timeZone } = timetable;
  const options = timeZone === undefined ? {} : { timezone: timeZone };
  try {
    const pattern = new Cron(cron, { ...options, paused: true });
    const next = pattern.nextRun(new Date(afterMs));
    pattern.stop();
    return next?.getTime();
  } catch (cause) {
    const zone = timeZone === undefined ? '' : ` of ${timeZone}`;
    throw new RangeError(`«${cron}» is no schedule${zone}: ${(cause as Error).message}`, { cause });
  }
}

/** For people: the cron as it is, or `every 15m`. */
export function timetableText(timetable: Timetable): string {
  return 'everyMs' in timetable ? `every ${formatDuration(timetable.everyMs)}` : timetable.cron;
}

import { Cron } from 'croner';

/** When a job runs by itself. */
export interface Timetable {
  /** Five fields, or six with seconds first; see croner. */
  readonly cron: string;
  /** IANA name, such as Asia/Shanghai; undefined: the machine's. */
  readonly timeZone?: string | undefined;
  /** Each start is put off by up to this, at random, so that many mirrors do not knock together. */
  readonly jitterMs?: number | undefined;
}

/**
 * The first moment after another, by the wall clock in milliseconds; undefined when there is none. A
 * time that daylight saving skips is run when the clocks have gone on, one that it repeats runs once.
 */
export function nextTime({ cron, timeZone }: Timetable, afterMs: number): number | undefined {
  const options = timeZone === undefined ? {} : { timezone: timeZone };
  const pattern = new Cron(cron, { ...options, paused: true });
  const next = pattern.nextRun(new Date(afterMs));
  pattern.stop();
  return next?.getTime();
}

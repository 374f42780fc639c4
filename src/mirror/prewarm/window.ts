import type { Clock } from '../../base/clock.ts';
import type { Work } from '../../base/work.ts';
import { pause } from '../retry.ts';

/** A part of each day in which a run may fetch; one that ends before it begins goes over midnight. */
export interface TimeWindow {
  /** Minutes since midnight, in the machine's time zone. */
  readonly fromMinute: number;
  readonly toMinute: number;
  readonly clock: Clock;
}

/** So often it is looked at whether the window has opened: clocks are set, and days have 23 hours. */
const lookMs = 30_000;

/** Waits until the window is open, and says so. @throws the reason of the work's signal */
export async function untilInWindow(window: TimeWindow, work: Work): Promise<void> {
  if (isOpen(window)) return;
  const text = `outside its window ${timeOf(window.fromMinute)}-${timeOf(window.toMinute)}`;
  const opened = async (): Promise<void> => {
    while (!isOpen(window)) await pause(lookMs, work.signal);
  };
  await work.wait(text, opened());
}

export function isOpen({ fromMinute, toMinute, clock }: TimeWindow): boolean {
  const now = new Date(clock.wallMs());
  const minute = now.getHours() * 60 + now.getMinutes();
  if (fromMinute <= toMinute) return minute >= fromMinute && minute < toMinute;
  return minute >= fromMinute || minute < toMinute;
}

function timeOf(minute: number): string {
  return [Math.floor(minute / 60), minute % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

import { z } from 'zod';
import { always, needImagesOrPopular } from '../contradictions.ts';
import {
  dayWindow,
  duration,
  flag,
  image,
  integer,
  interval,
  platform,
  rate,
  schedule,
  text,
  timeZone,
} from '../scalars.ts';

/** One rule of what is fetched before anybody asks. */
export const prewarmRule = z
  .strictObject({
    name: text,
    images: z.array(image).min(1).optional(),
    popular: z
      .strictObject({ top: integer(1, 1_000).prefault('50'), every: interval.prefault('15m') })
      .transform(({ top, every }) => ({ top, everyMs: every }))
      .optional(),
    platforms: z.array(platform).prefault([]),
    newest: integer(1, 1_000_000).optional(),
    referrers: flag.prefault('false'),
    schedule: schedule.optional(),
    timeZone: timeZone.optional(),
    jitter: duration.prefault('0s'),
    window: dayWindow.optional(),
    bandwidth: rate.prefault('0'),
    keepQuota: integer(0, 1_000_000).prefault('0'),
    pin: flag.prefault('false'),
  })
  .superRefine(needImagesOrPopular, always)
  .transform(({ bandwidth, jitter, ...rest }) => ({
    ...rest,
    jitterMs: jitter,
    bandwidthBytesPerSecond: bandwidth,
  }));

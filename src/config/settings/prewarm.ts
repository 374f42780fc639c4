import { z } from 'zod';
import { flag, integer, platform, rate, schedule, text } from '../scalars.ts';

/** One rule of what is fetched before anybody asks. */
export const prewarmRule = z
  .strictObject({
    name: text,
    images: z.array(text).min(1),
    platforms: z.array(platform).prefault([]),
    schedule: schedule.optional(),
    bandwidth: rate.prefault('0'),
    keepQuota: integer(0, 1_000_000).prefault('0'),
    pin: flag.prefault('false'),
  })
  .transform(({ bandwidth, ...rest }) => ({ ...rest, bandwidthBytesPerSecond: bandwidth }));

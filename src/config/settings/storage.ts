import { z } from 'zod';
import { duration, minFree, rate, schedule, share, size, text } from '../scalars.ts';

/** The disk. */
export const storage = z
  .strictObject({
    path: text.prefault('./data'),
    maxSize: size.prefault('50GiB'),
    minFree: minFree.prefault('5%'),
    lowWatermark: share.prefault('90%'),
    eviction: z.enum(['lru', 's3-fifo']).prefault('lru'),
    gc: z
      .strictObject({
        schedule: schedule.prefault('0 5 * * 0'),
        untagged: duration.prefault('30d'),
      })
      .prefault({})
      .transform(({ schedule: cron, untagged }) => ({ schedule: cron, untaggedMs: untagged })),
    verify: z
      .strictObject({
        scrub: schedule.prefault('0 4 * * 0'),
        scrubRate: rate.prefault('50MiB/s'),
        onRead: z.enum(['off', 'crc']).prefault('crc'),
      })
      .prefault({})
      .transform(({ scrubRate, ...rest }) => ({ ...rest, scrubRateBytesPerSecond: scrubRate })),
  })
  .transform(({ maxSize, lowWatermark, ...rest }) => ({
    ...rest,
    maxSizeBytes: maxSize,
    lowWatermarkShare: lowWatermark,
  }));

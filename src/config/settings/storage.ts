import { z } from 'zod';
import { minFree, schedule, share, size, text } from '../scalars.ts';

/** The disk. */
export const storage = z
  .strictObject({
    path: text.prefault('./data'),
    maxSize: size.prefault('50GiB'),
    minFree: minFree.prefault('5%'),
    lowWatermark: share.prefault('90%'),
    eviction: z.enum(['lru', 's3-fifo']).prefault('lru'),
    verify: z
      .strictObject({ scrub: schedule.optional(), onRead: z.enum(['off', 'crc']).prefault('crc') })
      .prefault({}),
  })
  .transform(({ maxSize, lowWatermark, ...rest }) => ({
    ...rest,
    maxSizeBytes: maxSize,
    lowWatermarkShare: lowWatermark,
  }));

import { z } from 'zod';
import { flag, integer, platform, rate, registryUrl, schedule, secret, text } from '../scalars.ts';

const syncRule = z
  .strictObject({
    name: text,
    repositories: z.array(text).min(1),
    tags: z
      .strictObject({
        include: z.array(text).prefault([]),
        exclude: z.array(text).prefault([]),
        newest: integer(1, 1_000_000).optional(),
      })
      .prefault({}),
    platforms: z.array(platform).prefault([]),
    schedule: schedule.optional(),
    follow: flag.prefault('true'),
    bandwidth: rate.prefault('0'),
    deletions: z.enum(['keep', 'follow']).prefault('keep'),
  })
  .transform(({ bandwidth, ...rest }) => ({ ...rest, bandwidthBytesPerSecond: bandwidth }));

/** This site and its primary. */
export const site = z.strictObject({
  name: text,
  primary: z.strictObject({
    url: registryUrl,
    admin: registryUrl.optional(),
    token: secret.optional(),
  }),
  sync: z.array(syncRule).prefault([]),
});

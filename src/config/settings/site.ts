import { z } from 'zod';
import {
  dayWindow,
  duration,
  flag,
  integer,
  platform,
  rate,
  registryUrl,
  schedule,
  secret,
  text,
  timeZone,
} from '../scalars.ts';
import { upstreamTls } from './upstreams.ts';

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
    timeZone: timeZone.optional(),
    jitter: duration.prefault('0s'),
    window: dayWindow.optional(),
    follow: flag.prefault('true'),
    referrers: flag.prefault('false'),
    bandwidth: rate.prefault('0'),
    deletions: z.enum(['keep', 'propagate']).prefault('keep'),
  })
  .transform(({ bandwidth, jitter, ...rest }) => ({
    ...rest,
    jitterMs: jitter,
    bandwidthBytesPerSecond: bandwidth,
  }));

/** This site and its primary. */
export const site = z.strictObject({
  name: text,
  primary: z.strictObject({
    url: registryUrl,
    admin: registryUrl.optional(),
    token: secret.optional(),
    tls: upstreamTls.optional(),
  }),
  sync: z.array(syncRule).prefault([]),
});

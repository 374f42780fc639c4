import { z } from 'zod';
import { always, needNamesOfTheirOwn, needPassword, needPrimaryToSync } from '../contradictions.ts';
import {
  dayWindow,
  duration,
  flag,
  integer,
  platform,
  rate,
  registryUrl,
  schedule,
  repositories,
  secret,
  tags,
  text,
  timeZone,
} from '../scalars.ts';
import { upstreamTls } from './upstreams.ts';

const tagSelection = z
  .strictObject({
    include: z.array(tags).prefault([]),
    exclude: z.array(tags).prefault([]),
    newest: integer(1, 1_000_000).optional(),
  })
  .prefault({});

const syncRule = z
  .strictObject({
    name: text,
    repositories: z.array(repositories).min(1),
    tags: tagSelection,
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

/** Another registry that is sent what is here. */
const pushRule = z
  .strictObject({
    name: text,
    url: registryUrl,
    username: text.optional(),
    password: secret.optional(),
    tls: upstreamTls.optional(),
    authHosts: z.array(text).prefault([]),
    repositories: z.array(repositories).min(1),
    tags: tagSelection,
    platforms: z.array(platform).prefault([]),
    to: text.prefault('{name}'),
    schedule: schedule.optional(),
    timeZone: timeZone.optional(),
    jitter: duration.prefault('0s'),
    window: dayWindow.optional(),
    follow: flag.prefault('true'),
    referrers: flag.prefault('false'),
    bandwidth: rate.prefault('0'),
  })
  .superRefine(needPassword, always)
  .transform(({ bandwidth, jitter, ...rest }) => ({
    ...rest,
    jitterMs: jitter,
    bandwidthBytesPerSecond: bandwidth,
  }));

/** This site, its primary, and whom it feeds. */
export const site = z
  .strictObject({
    name: text,
    primary: z
      .strictObject({
        url: registryUrl,
        admin: registryUrl.optional(),
        token: secret.optional(),
        tls: upstreamTls.optional(),
      })
      .optional(),
    sync: z.array(syncRule).prefault([]),
    push: z.array(pushRule).prefault([]),
  })
  .superRefine(needPrimaryToSync, always)
  .superRefine(({ sync, push }, context) => needNamesOfTheirOwn({ sync, push }, context), always);

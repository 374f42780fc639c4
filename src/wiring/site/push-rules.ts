import type { Clock } from '../../base/clock.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import { readSecret } from '../../config/load.ts';
import type { Config } from '../../config/schema.ts';
import type { Mirror } from '../../mirror/mirror.ts';
import { ownFeed } from '../../mirror/replicate/own-feed.ts';
import type { PushRule } from '../../mirror/replicate/push.ts';
import { repositoryMatcher } from '../../mirror/replicate/sync.ts';
import type { ChangeLog } from '../../store/changes.ts';
import { Connections } from '../../upstream/network/connections.ts';
import { proxyPolicy } from '../../upstream/network/proxies.ts';
import { Resolver } from '../../upstream/network/resolver.ts';
import { PushTarget } from '../../upstream/push/push-target.ts';
import type { Credentials } from '../../upstream/tokens.ts';
import { Transport } from '../../upstream/transport.ts';
import { timeWindow } from '../jobs/prewarm-job.ts';
import { tlsOf, type UpstreamSurroundings } from '../surroundings.ts';
import { selectionOf, type ConfiguredRule, type SiteRule } from './rule.ts';

type PushSettings = NonNullable<Config['site']>['push'][number];

const connectTimeoutMs = 5_000;

/** A registry looks at a whole layer before it answers. */
const headersTimeoutMs = 60_000;

/** Connections to one target. */
const maxConnections = 8;

/** The rules that send what is here to other registries. */
export function pushRules(
  config: Config,
  parts: {
    readonly mirror: Mirror;
    readonly changes: ChangeLog;
    readonly around: Omit<UpstreamSurroundings, 'links'>;
  },
): ConfiguredRule[] {
  const { mirror, changes, around } = parts;
  const open = (settings: PushSettings): SiteRule => {
    const rule = ruleOf(settings, around.clock);
    const target = openTarget(settings, around);
    const selects = repositoryMatcher(rule.repositories);
    const { schedule: cron, timeZone, jitterMs } = settings;
    return {
      name: rule.name,
      direction: 'to',
      peer: settings.url,
      repositories: rule.repositories,
      summary: `Sends ${rule.repositories.join(', ')} to ${settings.url}`,
      timetable: cron === undefined ? undefined : { cron, timeZone, jitterMs },
      feed: settings.follow ? ownFeed(changes) : undefined,
      wants: ({ kind, repository }) => kind === 'complete' && selects(repository),
      run: (deliveries, work, only) => mirror.push.run(rule, target, deliveries, work, only),
      differences: (signal) => mirror.push.differences(rule, target, signal),
      close: () => target.close(),
    };
  };
  return (config.site?.push ?? []).map((settings) => ({
    name: settings.name,
    settings,
    open: () => open(settings),
  }));
}

function ruleOf(settings: PushSettings, clock: Clock): PushRule {
  const { bandwidthBytesPerSecond, to, window } = settings;
  return {
    name: settings.name,
    repositories: settings.repositories,
    tags: selectionOf(settings.tags),
    platforms: settings.platforms,
    referrers: settings.referrers,
    window: window === undefined ? undefined : timeWindow(window, clock),
    bandwidth:
      bandwidthBytesPerSecond === 0 ? undefined : new TokenBucket(bandwidthBytesPerSecond, clock),
    nameThere: ({ registry, name }) =>
      to.replaceAll('{registry}', registry).replaceAll('{name}', name),
  };
}

function openTarget(
  { url, username, password, tls, authHosts }: PushSettings,
  { env, version, clock, observe }: Omit<UpstreamSurroundings, 'links'>,
): PushTarget {
  const { host: registry } = new URL(url);
  const credentials = async (): Promise<Credentials | undefined> =>
    username === undefined || password === undefined
      ? undefined
      : { username, password: await readSecret(password, env) };
  const connections = new Connections({
    resolver: new Resolver(clock),
    proxyFor: proxyPolicy(undefined, env),
    tls: tlsOf({ tls }),
    maxConnections,
    connectTimeoutMs,
    headersTimeoutMs,
  });
  const transport = new Transport({
    registry,
    urls: [url],
    authHosts,
    redirectHosts: [],
    isOffline: false,
    sendsNamespace: false,
    credentials,
    connections,
    maxConnections,
    requestsPerSecond: 0,
    headersTimeoutMs,
    bodyBufferBytes: 64 * 1024,
    userAgent: `entrepot/${version}`,
    clock,
    observe,
  });
  return new PushTarget(registry, transport);
}

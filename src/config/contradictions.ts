import type { z } from 'zod';
import { parseImagePattern } from '../mirror/select/images.ts';
import { canonicalRegistry } from '../oci/reference.ts';
import { isLoopback, listenText, type Listen } from './scalars.ts';

/** Contradictions are looked for even where a value is wrong, so that a person sees every fault at once. */
export const always = { when: () => true };

/**
 * What a single value cannot show: settings that contradict each other. Each function states its
 * problems to `context`. They run even when a value failed to parse, so they meet text where a value
 * should be, and trust no shape that they have not seen.
 */

type Context = z.RefinementCtx;

export function needTokenBeyondLoopback(
  admin: { listen: unknown; token?: unknown },
  context: Context,
): void {
  const { listen, token } = admin;
  if (!isListen(listen) || isLoopback(listen) || token !== undefined) return;
  context.addIssue({
    code: 'custom',
    path: ['listen'],
    message: `${listenText(listen)} can be reached from other machines, so a token is needed: set admin.token to { file: … } or { env: … }, or listen on 127.0.0.1`,
  });
}

/** A login comes from one place. */
export function needOneLogin(
  upstream: { username?: unknown; dockerConfig?: unknown; credentialHelper?: unknown },
  context: Context,
): void {
  const given = (['username', 'dockerConfig', 'credentialHelper'] as const).filter(
    (key) => upstream[key] !== undefined,
  );
  const [first, second] = given;
  if (first === undefined || second === undefined) return;
  context.addIssue({
    code: 'custom',
    path: [second],
    message: `${first} says already where the login comes from; keep one of ${given.join(', ')}`,
  });
}

export function needConnections(
  upstream: { connectionsPerBlob?: unknown; maxConnections: unknown },
  context: Context,
): void {
  const { connectionsPerBlob, maxConnections } = upstream;
  if (typeof connectionsPerBlob !== 'number' || typeof maxConnections !== 'number') return;
  if (connectionsPerBlob <= maxConnections) return;
  context.addIssue({
    code: 'custom',
    path: ['connectionsPerBlob'],
    message: `${connectionsPerBlob} connections for one blob are more than maxConnections (${maxConnections}) allows for all`,
  });
}

/** What a rule fetches is named, or learnt from clients, who also decide how many tags and versions. */
export function needImagesOrPopular(
  rule: Readonly<Partial<Record<'images' | 'popular' | 'schedule' | 'newest', unknown>>>,
  context: Context,
): void {
  if (typeof rule !== 'object') return;
  const { images, popular } = rule;
  if (images === undefined && popular === undefined) {
    const message = 'name images, or let them be learnt: popular: { top: 50, every: 15m }';
    context.addIssue({ code: 'custom', path: ['images'], message });
  }
  if (popular === undefined) return;
  for (const key of ['images', 'schedule', 'newest'] as const) {
    if (rule[key] === undefined) continue;
    const message = `popular says already what is fetched and when; put ${key} into a rule of its own`;
    context.addIssue({ code: 'custom', path: [key], message });
  }
}

/** A login is both. */
export function needPassword(
  { username, password }: { username?: unknown; password?: unknown },
  context: Context,
): void {
  if ((username === undefined) === (password === undefined)) return;
  context.addIssue({
    code: 'custom',
    path: [username === undefined ? 'password' : 'username'],
    message: 'a login needs both: set username and password, or neither',
  });
}

export function needPrimaryToSync(
  { primary, sync }: { primary?: unknown; sync: unknown },
  context: Context,
): void {
  if (primary !== undefined || !Array.isArray(sync) || sync.length === 0) return;
  context.addIssue({
    code: 'custom',
    path: ['sync'],
    message: 'there is no primary to copy from: set site.primary, or remove the rules',
  });
}

/** Rules are run and shown by their names. @param byKey lists of rules that share their names */
export function needNamesOfTheirOwn(
  byKey: Readonly<Record<string, unknown>>,
  context: Context,
): void {
  const seen = new Set<unknown>();
  for (const [key, rules] of Object.entries(byKey)) {
    if (!Array.isArray(rules)) continue;
    for (const [at, rule] of (rules as { name?: unknown }[]).entries()) {
      if (typeof rule?.name === 'string' && seen.has(rule.name)) {
        context.addIssue({
          code: 'custom',
          path: [key, at, 'name'],
          message: `another rule is called ${rule.name} already; give this one a name of its own`,
        });
      }
      seen.add(rule?.name);
    }
  }
}

/** docker.io when it is there, else the only one there is. */
export function findOnlyDefault(configured: ReadonlyMap<string, unknown>): string | undefined {
  if (configured.has('docker.io')) return 'docker.io';
  return configured.size === 1 ? [...configured.keys()][0] : undefined;
}

export function needDefaultUpstream(
  value: { upstreams: unknown; defaultUpstream?: unknown },
  context: Context,
): void {
  const { upstreams, defaultUpstream } = value;
  // Not a Map: some upstream is faulty, and its own problems are reported.
  if (!(upstreams instanceof Map) || upstreams.size === 0) return;
  const names = [...upstreams.keys()].join(', ');
  if (typeof defaultUpstream === 'string' && !upstreams.has(defaultUpstream)) {
    context.addIssue({
      code: 'custom',
      path: ['defaultUpstream'],
      message: `${defaultUpstream} is not among the upstreams; add it there, or choose one of ${names}`,
    });
  }
  if (defaultUpstream === undefined && findOnlyDefault(upstreams) === undefined) {
    context.addIssue({
      code: 'custom',
      path: ['upstreams'],
      message: `docker.io is not among them, so say which one answers a request that names no registry: set defaultUpstream to one of ${names}`,
    });
  }
}

/** What is fetched ahead comes from an upstream, too. */
export function needUpstreamsToPrewarm(
  value: { upstreams: unknown; prewarm: unknown },
  context: Context,
): void {
  const { upstreams, prewarm } = value;
  if (!(upstreams instanceof Map) || !Array.isArray(prewarm)) return;
  for (const [at, rule] of (prewarm as ({ images?: unknown } | undefined)[]).entries()) {
    if (!Array.isArray(rule?.images)) continue;
    for (const [which, image] of rule.images.entries()) {
      const registry = findRegistryOf(image);
      if (registry === undefined || upstreams.has(registry)) continue;
      const names = [...upstreams.keys()].join(', ');
      context.addIssue({
        code: 'custom',
        path: ['prewarm', at, 'images', which],
        message: `its registry, ${registry}, is not among the upstreams (${names}); add it there, or remove the image`,
      });
    }
  }
}

export function needSeparatePorts(
  value: { registry: { listen?: unknown }; admin: { listen?: unknown } },
  context: Context,
): void {
  const ours = value.registry?.listen;
  const theirs = value.admin?.listen;
  if (!isListen(ours) || !isListen(theirs) || ours.port === 0 || ours.port !== theirs.port) return;
  const wildcard = [ours.host, theirs.host].some((name) => name === '0.0.0.0' || name === '::');
  if (!wildcard && ours.host !== theirs.host) return;
  context.addIssue({
    code: 'custom',
    path: ['admin', 'listen'],
    message: `${listenText(theirs)} collides with registry.listen (${listenText(ours)}); choose another port`,
  });
}

export function needDistinctNames(
  byName: Readonly<Record<string, unknown>>,
  context: Context,
): void {
  if (typeof byName !== 'object') return;
  const names = Object.keys(byName);
  const seen = new Map<string, string>();
  for (const name of names) {
    const canonical = canonicalRegistry(name);
    const first = seen.get(canonical);
    if (first === undefined) {
      seen.set(canonical, name);
      continue;
    }
    context.addIssue({
      code: 'custom',
      path: [name],
      message: `${name} and ${first} are one registry; put their settings together`,
    });
  }
}

/** Two keys of which each is useless alone; the fault is at the one that is there. */
export function needBoth<Key extends string>(
  value: Readonly<Partial<Record<Key, unknown>>>,
  first: Key,
  second: Key,
  context: Context,
): void {
  if ((value[first] === undefined) === (value[second] === undefined)) return;
  const [there, missing] = value[first] === undefined ? [second, first] : [first, second];
  context.addIssue({
    code: 'custom',
    path: [there],
    message: `${there} is set but ${missing} is not; set both or neither`,
  });
}

/** Undefined for what is no image: that is said already. */
function findRegistryOf(image: unknown): string | undefined {
  if (typeof image !== 'string') return undefined;
  try {
    return parseImagePattern(image).repository.registry;
  } catch {
    return undefined;
  }
}

function isListen(value: unknown): value is Listen {
  return typeof value === 'object' && value !== null && 'host' in value && 'port' in value;
}

import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../../base/clock.ts';
import type { Finding } from '../../base/finding.ts';
import { isMirrorError, type ErrorCode, type MirrorError } from '../../oci/errors.ts';
import { findChallenge } from '../challenge.ts';
import type { TlsMaterial } from '../network/connections.ts';
import type { ProxyFor } from '../network/proxies.ts';
import type { Resolver } from '../network/resolver.ts';
import { examineName, examineTls, mendConnection } from './connection.ts';
import type { Quota } from '../quota.ts';
import { isWebPage } from '../quirks.ts';
import type { Upstream } from '../upstream.ts';

/** For the headers of the HEAD: longer than a client should wait, shorter than a person does. */
const headersTimeoutMs = 10_000;

/** A tag of a repository, by which an upstream is tried. */
export interface CheckImage {
  readonly name: string;
  readonly tag: string;
}

/**
 * Public images that stay where they are, for upstreams of which nothing is cached. Docker's own is
 * made for reading the limits; only HEADs are sent, which cost nothing.
 */
export const publicCheckImages: Readonly<Record<string, CheckImage>> = {
  'docker.io': { name: 'ratelimitpreview/test', tag: 'latest' },
  'ghcr.io': { name: 'containerd/alpine', tag: '3.14.0' },
  'quay.io': { name: 'prometheus/busybox', tag: 'latest' },
  'gcr.io': { name: 'distroless/static', tag: 'latest' },
  'registry.k8s.io': { name: 'pause', tag: '3.9' },
  'mcr.microsoft.com': { name: 'hello-world', tag: 'latest' },
  'public.ecr.aws': { name: 'docker/library/hello-world', tag: 'latest' },
};

/** An upstream as it is examined. */
export interface Examinable {
  readonly upstream: Upstream;
  readonly urls: readonly string[];
  readonly isOffline: boolean;
  readonly resolver: Resolver;
  readonly proxyFor: ProxyFor;
  readonly tls: () => Promise<TlsMaterial>;
  /** The name of the account that is used now; undefined without a login. */
  readonly account: () => Promise<string | undefined>;
  readonly clock: Clock;
  readonly ping: (url: URL) => Promise<{ status: number; headers: IncomingHttpHeaders }>;
}

/** What was found, and how far the registry's clock is ahead of ours, by its `Date`. */
export interface Examination {
  readonly findings: readonly Finding[];
  readonly clockAheadMs: readonly number[];
}

/** Name, handshake and `/v2/` of each URL, then the login with one HEAD, then the quota. */
export async function examineUpstream(
  examinable: Examinable,
  image: CheckImage | undefined,
): Promise<Examination> {
  const { upstream, urls, isOffline } = examinable;
  if (isOffline) {
    const about = { check: 'upstream', subject: upstream.registry, state: 'skipped' } as const;
    return { findings: [{ ...about, seen: 'set to offline: never asked' }], clockAheadMs: [] };
  }
  const visits = await Promise.all(urls.map((url) => examineUrl(examinable, new URL(url))));
  const findings = visits.flatMap((visit) => visit.findings);
  const clockAheadMs = visits.flatMap((visit) => visit.clockAheadMs);
  const isReachable = visits.some(({ hasAnswered }) => hasAnswered);
  if (isReachable) {
    findings.push(...(await examineLogin(examinable, image)));
  }
  return { findings, clockAheadMs };
}

async function examineUrl(
  examinable: Examinable,
  url: URL,
): Promise<Examination & { readonly hasAnswered: boolean }> {
  const { clock, ping, upstream } = examinable;
  const findings = await examineWay(examinable, url);
  const clockAheadMs: number[] = [];
  const about = { check: 'api', subject: url.href.replace(/\/$/, '') } as const;
  if (findings.some(({ state }) => state === 'failed')) {
    return { findings, clockAheadMs, hasAnswered: false };
  }
  try {
    const startMs = clock.monotonicMs();
    const { status, headers } = await ping(url);
    const tookMs = Math.round(clock.monotonicMs() - startMs);
    const dateMs = Date.parse(headers.date ?? '');
    // The header has whole seconds; the middle of one, at the middle of the way.
    if (!Number.isNaN(dateMs)) clockAheadMs.push(dateMs + 500 + tookMs / 2 - clock.wallMs());
    findings.push({ ...about, ...judgePing(status, headers, tookMs) });
    return { findings, clockAheadMs, hasAnswered: true };
  } catch (error) {
    const cause = isMirrorError(error) ? error.cause : error;
    const { code } = (cause ?? {}) as { code?: string };
    const seen = error instanceof Error ? error.message : `no answer from ${upstream.registry}`;
    findings.push({ ...about, state: 'failed', seen, mend: mendConnection(code) });
    return { findings, clockAheadMs, hasAnswered: false };
  }
}

/** Name and handshake; through a proxy, which finds the address itself, only that it is one. */
async function examineWay(
  { proxyFor, resolver, tls, clock }: Examinable,
  url: URL,
): Promise<Finding[]> {
  const proxy = proxyFor(url);
  if (proxy !== undefined) {
    const seen = `asked through the proxy ${proxy.host}`;
    return [{ check: 'proxy', subject: url.host, state: 'ok', seen }];
  }
  const name = await examineName(url, resolver);
  if (name?.state === 'failed') return [name];
  const handshake = await examineTls(url, tls, clock.wallMs());
  return name === undefined ? [handshake] : [name, handshake];
}

function judgePing(
  status: number,
  headers: IncomingHttpHeaders,
  tookMs: number,
): Pick<Finding, 'state' | 'seen' | 'mend'> {
  const answered = `/v2/ answered ${status} in ${tookMs} ms`;
  if (isWebPage(headers) && status < 500) {
    const mend =
      'this is no registry: check urls of this upstream, and what stands between (a login portal, a proxy)';
    return { state: 'failed', seen: `${answered} with a web page`, mend };
  }
  if (status === 200) return { state: 'ok', seen: `${answered}, for everybody` };
  if (status === 401) {
    const lines = [headers['www-authenticate'] ?? ''].flat();
    const challenge = findChallenge(lines);
    if (challenge === undefined) {
      const mend =
        'it asks for a login in a way that is neither Bearer nor Basic: the mirror cannot log in';
      return { state: 'warning', seen: answered, mend };
    }
    const realm = challenge.parameters['realm'] ?? '';
    const where = URL.canParse(realm) ? ` from ${new URL(realm).host}` : '';
    const wants = challenge.scheme === 'bearer' ? `a token${where}` : 'user and password';
    return { state: 'ok', seen: `${answered} and wants ${wants}` };
  }
  if (status === 429) {
    const mend =
      'too many requests come from this address or login: give this upstream a login, or let tags live longer (tagTtl)';
    return { state: 'warning', seen: answered, mend };
  }
  const mend =
    status >= 500
      ? 'the registry itself fails: look at its status page or ask whoever runs it'
      : 'there is no registry API at that address: check the path in urls of this upstream';
  return { state: 'failed', seen: answered, mend };
}

async function examineLogin(
  examinable: Examinable,
  image: CheckImage | undefined,
): Promise<Finding[]> {
  const { upstream } = examinable;
  try {
    const account = await examinable.account();
    const head = await examineHead(examinable, account, image);
    return [head, examineQuota(upstream, account)];
  } catch (error) {
    const seen = `the login cannot be read: ${(error as Error).message}`;
    const mend =
      'check the file or the variable that holds the password, and that this user may read it';
    return [{ check: 'login', subject: upstream.registry, state: 'failed', seen, mend }];
  }
}

async function examineHead(
  { upstream, clock }: Examinable,
  account: string | undefined,
  image: CheckImage | undefined,
): Promise<Finding> {
  const about = { check: 'head', subject: upstream.registry } as const;
  const who = account === undefined ? 'without a login' : `as ${account}`;
  if (image === undefined) {
    const seen = 'nothing of it is cached, so there is no image to ask for';
    return {
      ...about,
      state: 'skipped',
      seen,
      mend: 'pull an image through the mirror and look again',
    };
  }
  const startMs = clock.monotonicMs();
  const name = `${image.name}:${image.tag}`;
  try {
    const { digest } = await upstream.resolve(image.name, { tag: image.tag }, { headersTimeoutMs });
    const tookMs = Math.round(clock.monotonicMs() - startMs);
    const seen = `HEAD of ${name} ${who} answered in ${tookMs} ms`;
    if (digest !== undefined) return { ...about, state: 'ok', seen };
    const mend =
      'tags of this registry are confirmed by a GET each time, which its quota may count: a longer tagTtl saves some';
    return { ...about, state: 'warning', seen: `${seen} without a digest`, mend };
  } catch (error) {
    if (!isMirrorError(error)) throw error;
    if (error.code === 'MANIFEST_UNKNOWN') {
      return {
        ...about,
        state: 'ok',
        seen: `HEAD of ${name} ${who}: it answers, and has no such image`,
      };
    }
    return { ...about, state: 'failed', seen: error.message, mend: mendHead(error) };
  }
}

const headMends: Readonly<Partial<Record<ErrorCode, string>>> = {
  DENIED: 'check username and password of this upstream, and that they may read that image',
  UPSTREAM_LIMITED:
    'wait, or give this upstream a login with a higher limit; what is cached is served meanwhile',
  UPSTREAM_INVALID:
    'what answers does not speak the registry protocol: check urls of this upstream, and what stands between',
};

function mendHead({ code, message }: MirrorError): string {
  if (message.includes('authHosts')) return 'add that host to authHosts, if it is right';
  return headMends[code] ?? 'what is cached is served meanwhile; look again in a minute';
}

function examineQuota(upstream: Upstream, account: string | undefined): Finding {
  const about = { check: 'quota', subject: upstream.registry } as const;
  const quota = upstream.quotas.find((one) => one.account === (account ?? 'anonymous'));
  if (quota?.limit === undefined && quota?.remaining === undefined) {
    return { ...about, state: 'ok', seen: 'it names no limit of pulls' };
  }
  const seen = quotaText(quota);
  // A login is counted by an id, everybody else by their address.
  if (account !== undefined && /^[\d.]+$|:/.test(quota.source ?? '')) {
    const mend = 'the login has no effect: check username and password of this upstream';
    return { ...about, state: 'warning', seen: `${seen}, counted for an address`, mend };
  }
  if (quota.remaining === 0) {
    const mend =
      'only what is cached can be pulled until some are free again: use a login with a higher limit';
    return { ...about, state: 'warning', seen, mend };
  }
  return { ...about, state: 'ok', seen };
}

function quotaText({ limit, remaining, windowSeconds, source }: Quota): string {
  const hours = windowSeconds === undefined ? '' : ` in ${windowSeconds / 3600} h`;
  const whose = source === undefined ? '' : ` for ${source}`;
  return `${remaining ?? 'an unknown number'} of ${limit ?? 'an unknown number of'} pulls${hours} left${whose}`;
}

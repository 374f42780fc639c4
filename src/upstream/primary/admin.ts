import { MirrorError } from '../../oci/errors.ts';
import { findDigest, type Digest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/reference.ts';
import type { Connections } from '../network/connections.ts';
import { readAtMost } from '../read-body.ts';

/** A change at the primary; `seq` orders them. */
export interface PrimaryChange {
  readonly seq: number;
  readonly kind: 'set' | 'delete' | 'complete';
  readonly repository: Repository;
  readonly tag: string;
  readonly digest: Digest | undefined;
}

export interface PrimaryTag {
  readonly tag: string;
  readonly digest: Digest;
}

/** One page of a list, or of changes. */
const pageBytesMax = 16 * 1024 * 1024;

const pageLimit = 1_000;

/** Beyond the time that the primary was asked to wait. */
const answerMs = 20_000;

/** The cursor is older than the primary's log: only a comparison of everything helps. */
export class LogTooShort extends Error {
  constructor() {
    super('the primary no longer has all that changed since');
    this.name = 'LogTooShort';
  }
}

/** The admin API of a primary site, as far as a mirror site reads it. */
export class PrimaryAdmin {
  readonly #url: string;
  readonly #connections: Connections;
  readonly #token: () => Promise<string | undefined>;

  constructor(parts: {
    readonly url: string;
    readonly connections: Connections;
    readonly token: () => Promise<string | undefined>;
  }) {
    this.#url = parts.url;
    this.#connections = parts.connections;
    this.#token = parts.token;
  }

  /**
   * What changed after `seq`, and the number of the newest change. Waits until there is something.
   * @throws LogTooShort; MirrorError UPSTREAM_UNAVAILABLE; the signal's reason
   */
  async changes(
    seq: number,
    waitSeconds: number,
    signal: AbortSignal,
  ): Promise<{ changes: PrimaryChange[]; latest: number }> {
    const path = `/api/v1/changes?since=${seq}&wait=${waitSeconds}s&limit=${pageLimit}`;
    const answer = await this.#get(path, signal, waitSeconds * 1000 + answerMs);
    const { items, latest } = answer as { items: Record<string, unknown>[]; latest: number };
    return { changes: items.map(changeOf), latest };
  }

  /** The number of the newest change. */
  async latest(signal: AbortSignal): Promise<number> {
    const answer = await this.#get('/api/v1/changes?limit=1&latest=true', signal, answerMs);
    return (answer as { latest: number }).latest;
  }

  async *repositories(signal: AbortSignal): AsyncGenerator<Repository, void> {
    for await (const { name } of this.#list('/api/v1/repositories', signal)) {
      yield repositoryOf(String(name));
    }
  }

  async *tags(
    { registry, name }: Repository,
    signal: AbortSignal,
  ): AsyncGenerator<PrimaryTag, void> {
    const path = `/api/v1/repositories/${encodeURIComponent(`${registry}/${name}`)}/tags`;
    for await (const item of this.#list(path, signal)) {
      const digest = findDigest(String(item['digest']));
      if (digest !== undefined) yield { tag: String(item['tag']), digest };
    }
  }

  async *#list(path: string, signal: AbortSignal): AsyncGenerator<Record<string, unknown>, void> {
    for (let after = ''; ;) {
      const query = `limit=${pageLimit}${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`;
      const answer = await this.#get(`${path}?${query}`, signal, answerMs);
      const { items, next } = answer as { items: Record<string, unknown>[]; next: string | null };
      yield* items;
      if (next === null) return;
      after = next;
    }
  }

  async #get(path: string, signal: AbortSignal, timeoutMs: number): Promise<unknown> {
    const url = new URL(this.#url + path);
    const token = await this.#token();
    let status: number;
    let text: string;
    try {
      const dispatcher = await this.#connections.dispatcherFor(url, 'own');
      const response = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: 'GET',
        headers: {
          accept: 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      });
      status = response.statusCode;
      text = (await readAtMost(response.body, pageBytesMax, 'a page')).toString('utf8');
    } catch (cause) {
      signal.throwIfAborted();
      const why = cause instanceof Error ? cause.message : String(cause);
      throw this.#unavailable(`does not answer: ${why}`, cause);
    }
    if (status === 410) throw new LogTooShort();
    if (status === 401 || status === 403) {
      throw this.#unavailable(`refuses us (${status}); check site.primary.token`, undefined);
    }
    if (status !== 200)
      throw this.#unavailable(`answered ${status} for ${url.pathname}`, undefined);
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw this.#unavailable('answered something that is no JSON', cause);
    }
  }

  #unavailable(what: string, cause: unknown): MirrorError {
    return new MirrorError(
      'UPSTREAM_UNAVAILABLE',
      `the primary's admin API at ${this.#url} ${what}`,
      {
        cause,
      },
    );
  }
}

function changeOf(item: Record<string, unknown>): PrimaryChange {
  const { seq, kind, repository, tag, digest } = item;
  return {
    seq: Number(seq),
    kind: kind as PrimaryChange['kind'],
    repository: repositoryOf(String(repository)),
    tag: String(tag),
    digest: typeof digest === 'string' ? findDigest(digest) : undefined,
  };
}

function repositoryOf(text: string): Repository {
  const slash = text.indexOf('/');
  return { registry: text.slice(0, slash), name: text.slice(slash + 1) };
}

import { createHash } from 'node:crypto';
import { MirrorError } from '../../oci/errors.ts';
import { findDigest, type Digest } from '../../oci/digest.ts';
import type { Repository } from '../../oci/reference.ts';
import type { Connections } from '../network/connections.ts';
import { readAtMost } from '../read-body.ts';

/** A change; `seq` orders those of one log. */
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
  /** Of an index: the manifests it names that are cached there; undefined for an image. */
  readonly images: readonly Digest[] | undefined;
}

/** A place in the primary's log. */
export interface FeedCursor {
  readonly log: string;
  readonly seq: number;
}

type Item = Readonly<Record<string, unknown>>;

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
   * What changed after a place in the log, and the number of the newest change. Waits until there is
   * something.
   * @throws LogTooShort; MirrorError UPSTREAM_UNAVAILABLE; the signal's reason
   */
  async changes(
    { log, seq }: FeedCursor,
    waitSeconds: number,
    signal: AbortSignal,
  ): Promise<{ changes: PrimaryChange[]; latest: number }> {
    const query = new URLSearchParams({
      since: String(seq),
      log,
      wait: `${waitSeconds}s`,
      limit: String(pageLimit),
    });
    const path = `/api/v1/changes?${query.toString()}`;
    const { items, latest } = await this.#get(path, signal, waitSeconds * 1000 + answerMs);
    if (!Array.isArray(items) || !Number.isSafeInteger(latest)) throw this.#malformed(path);
    return { changes: (items as Item[]).map(changeOf), latest: latest as number };
  }

  /** The place after the newest change. */
  async latest(signal: AbortSignal): Promise<FeedCursor> {
    const path = '/api/v1/changes?limit=1&latest=true';
    const { latest, log } = await this.#get(path, signal, answerMs);
    if (!Number.isSafeInteger(latest) || typeof log !== 'string') throw this.#malformed(path);
    return { log, seq: latest as number };
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
    for await (const { tag, digest: text, images } of this.#list(path, signal, '&images=true')) {
      const digest = findDigest(String(text));
      if (digest === undefined) throw this.#malformed(path);
      yield {
        tag: String(tag),
        digest,
        images: Array.isArray(images) ? digestsOf(images) : undefined,
      };
    }
  }

  async *#list(path: string, signal: AbortSignal, more: string = ''): AsyncGenerator<Item, void> {
    for (let after = ''; ;) {
      const query = `limit=${pageLimit}${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`;
      const { items, next } = await this.#get(`${path}?${query}${more}`, signal, answerMs);
      if (!Array.isArray(items)) throw this.#malformed(path);
      yield* items as Item[];
      if (typeof next !== 'string') return;
      after = next;
    }
  }

  async #get(path: string, signal: AbortSignal, timeoutMs: number): Promise<Item> {
    const url = new URL(this.#url + path);
    const token = await this.#token();
    let status: number;
    let body: Buffer;
    let claimed: unknown;
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
      claimed = response.headers['content-digest'];
      body = await readAtMost(response.body, pageBytesMax, 'a page');
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
    const digest = createHash('sha256').update(body).digest('base64');
    if (claimed !== `sha-256=:${digest}:`) {
      throw this.#unavailable('sent something else than it says: the line changed it', undefined);
    }
    return JSON.parse(body.toString('utf8')) as Item;
  }

  #malformed(path: string): MirrorError {
    return this.#unavailable(
      `answered ${path} in a form that is not known here; is it an Entrepot of this version?`,
      undefined,
    );
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

function changeOf(item: Item): PrimaryChange {
  const { seq, kind, repository, tag, digest } = item;
  return {
    seq: Number(seq),
    kind: kind as PrimaryChange['kind'],
    repository: repositoryOf(String(repository)),
    tag: String(tag),
    digest: typeof digest === 'string' ? findDigest(digest) : undefined,
  };
}

function digestsOf(texts: readonly unknown[]): Digest[] {
  return texts.map((text) => findDigest(String(text))).filter((digest) => digest !== undefined);
}

function repositoryOf(text: string): Repository {
  const slash = text.indexOf('/');
  return { registry: text.slice(0, slash), name: text.slice(slash + 1) };
}

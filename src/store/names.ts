import path from 'node:path';
import { Keyv } from 'keyv';
import { LRUCache } from 'lru-cache';
import type { Observe } from '../base/events.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import { SqliteKeyv } from './sqlite-keyv.ts';

/** What a tag named when upstream last said so. Times by the wall clock, in milliseconds. */
export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** When upstream last confirmed it. */
  readonly checkedMs: number;
  /** What it named and when, the newest first. */
  readonly history: readonly TagMoment[];
}

export interface TagMoment {
  readonly digest: Digest;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
}

export interface TagStore {
  find(repository: Repository, tag: string): Promise<TagRecord | undefined>;
  /** Upstream says that the tag names this now. */
  seen(
    repository: Repository,
    tag: string,
    descriptor: Descriptor,
    wallMs: number,
  ): Promise<TagRecord>;
}

/** That a repository has some content: what makes a shared file readable under that name. */
export interface Link {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly kind: 'manifest' | 'blob';
}

export interface LinkStore {
  find(repository: Repository, digest: Digest): Promise<Link | undefined>;
  add(repository: Repository, links: readonly Link[]): Promise<void>;
  /** Those of which a manifest is known, sorted by registry and name. */
  repositories(): AsyncIterable<Repository>;
}

/** Small answers of upstream, kept for outages: any JSON value. */
export interface DocumentStore {
  find(kind: string, key: string): Promise<unknown>;
  put(kind: string, key: string, document: unknown): Promise<void>;
}

/** Everything that has a name. A cache, too: losing it costs requests, never content. */
export interface Names {
  readonly tags: TagStore;
  readonly links: LinkStore;
  readonly documents: DocumentStore;
  close(): Promise<void>;
}

/** Digests that a tag named before; the rest is forgotten. */
const historyMax = 50;

/** Links in memory, so that a hit costs no query; each some 300 bytes. */
const linksMax = 50_000;

/**
 * Names over keyv on the embedded database, `names.db` in that folder. Keys, whose parts contain no
 * space:
 *
 *     tag <registry>/<name> <tag>         link <registry>/<name> <digest>
 *     repository <registry>/<name>        document <kind> <key>
 */
export function openNames(options: { folder: string; observe: Observe }): Promise<Names> {
  const adapter = new SqliteKeyv(path.join(options.folder, 'names.db'));
  const keyv = new Keyv({ store: adapter });
  // With this listener a failing database reads as a miss: it is counted here.
  keyv.on('error', (error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    options.observe({ kind: 'names-failed', operation: 'query', message });
  });
  return Promise.resolve({
    tags: new KeyvTags(keyv),
    links: new KeyvLinks(keyv, adapter),
    documents: {
      find: (kind, key) => keyv.get(`document ${kind} ${key}`),
      put: async (kind, key, document) => {
        await keyv.set(`document ${kind} ${key}`, document);
      },
    },
    close: () => keyv.disconnect(),
  });
}

class KeyvTags implements TagStore {
  readonly #keyv: Keyv;

  constructor(keyv: Keyv) {
    this.#keyv = keyv;
  }

  find(repository: Repository, tag: string): Promise<TagRecord | undefined> {
    return this.#keyv.get<TagRecord>(tagKey(repository, tag));
  }

  async seen(
    repository: Repository,
    tag: string,
    { digest, mediaType, size }: Descriptor,
    wallMs: number,
  ): Promise<TagRecord> {
    const before = (await this.find(repository, tag))?.history ?? [];
    const [latest, ...older] = before;
    const history =
      latest?.digest === digest
        ? [{ ...latest, lastSeenMs: wallMs }, ...older]
        : [{ digest, firstSeenMs: wallMs, lastSeenMs: wallMs }, ...before].slice(0, historyMax);
    const record = { digest, mediaType, sizeBytes: size, checkedMs: wallMs, history };
    await this.#keyv.set(tagKey(repository, tag), record);
    return record;
  }
}

class KeyvLinks implements LinkStore {
  readonly #keyv: Keyv;
  readonly #adapter: SqliteKeyv;
  readonly #hot = new LRUCache<string, Link>({ max: linksMax });

  constructor(keyv: Keyv, adapter: SqliteKeyv) {
    this.#keyv = keyv;
    this.#adapter = adapter;
  }

  async find(repository: Repository, digest: Digest): Promise<Link | undefined> {
    const key = linkKey(repository, digest);
    const hot = this.#hot.get(key);
    if (hot !== undefined) return hot;
    const found = await this.#keyv.get<Link>(key);
    if (found !== undefined) this.#hot.set(key, found);
    return found;
  }

  async add(repository: Repository, links: readonly Link[]): Promise<void> {
    const entries: { key: string; value: unknown }[] = [];
    for (const link of links) {
      const key = linkKey(repository, link.digest);
      if (this.#hot.has(key)) continue;
      this.#hot.set(key, link);
      entries.push({ key, value: link });
    }
    if (entries.length === 0) return;
    if (links.some(({ kind }) => kind === 'manifest')) {
      entries.push({ key: `repository ${repositoryKey(repository)}`, value: repository });
    }
    await this.#keyv.setMany(entries);
  }

  async *repositories(): AsyncIterable<Repository> {
    for await (const [key] of this.#adapter.entries('repository ')) {
      const text = key.slice('repository '.length);
      const slash = text.indexOf('/');
      yield { registry: text.slice(0, slash), name: text.slice(slash + 1) };
    }
  }
}

function tagKey(repository: Repository, tag: string): string {
  return `tag ${repositoryKey(repository)} ${tag}`;
}

function linkKey(repository: Repository, digest: Digest): string {
  return `link ${repositoryKey(repository)} ${digest}`;
}

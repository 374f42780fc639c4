import path from 'node:path';
import { Keyv } from 'keyv';
import { LRUCache } from 'lru-cache';
import type { Observe } from '../base/events.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import { openPins, type PinStore } from './pins.ts';
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
  /** A person has taken the tag back from this: while upstream says it, the tag stays what it is. */
  readonly rejected?: Digest;
}

/** One stretch of time in which a tag named one digest. */
export interface TagMoment {
  readonly digest: Digest;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
}

/** Tags of repositories. A failing database is a miss, never an error. */
export interface TagStore {
  find(repository: Repository, tag: string): Promise<TagRecord | undefined>;
  /** Upstream says that the tag names this now. The record is right even when it could not be kept. */
  seen(
    repository: Repository,
    tag: string,
    descriptor: Descriptor,
    wallMs: number,
  ): Promise<TagRecord>;
  /** The tag names what it named before, until upstream says something new; undefined: nothing is known. */
  rollBack(repository: Repository, tag: string): Promise<TagRecord | undefined>;
  /** Forgets the tag and its history. */
  remove(repository: Repository, tag: string): Promise<void>;
  /** In the order of the tags' bytes. */
  walk(repository: Repository): AsyncIterable<{ tag: string; record: TagRecord }>;
}

/** A tag names another digest now; none: it is forgotten. */
export interface TagChange {
  readonly repository: Repository;
  readonly tag: string;
  readonly digest: Digest | undefined;
  readonly mediaType: string | undefined;
}

/** That a repository has some content: what makes a shared file readable under that name. */
export interface Link {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly kind: 'manifest' | 'blob';
}

/** Links of repositories to content. A failing database is a miss, never an error. */
export interface LinkStore {
  find(repository: Repository, digest: Digest): Promise<Link | undefined>;
  /** What is linked already costs no write; a manifest stays one when it is read as a blob, too. */
  add(repository: Repository, links: readonly Link[]): Promise<void>;
  remove(repository: Repository, digest: Digest): Promise<void>;
  /** In the order of the digests. */
  walk(repository: Repository): AsyncIterable<Link>;
  /** Those of which a tag or a manifest is known, sorted by `registry/name`. */
  repositories(): AsyncIterable<Repository>;
}

/** Small answers of upstream, kept for outages: any JSON value. */
export interface DocumentStore {
  find(kind: string, key: string): Promise<unknown>;
  put(kind: string, key: string, document: unknown): Promise<void>;
  remove(kind: string, key: string): Promise<void>;
}

/** Everything that has a name. A cache, too: losing it costs requests, never content. */
export interface Names {
  readonly tags: TagStore;
  readonly links: LinkStore;
  readonly documents: DocumentStore;
  readonly pins: PinStore;
  close(): Promise<void>;
}

/** Digests that a tag named before; the rest is forgotten. */
const historyMax = 50;

/** Links in memory, so that a hit costs no query; each some 300 bytes. */
const linksMax = 50_000;

/**
 * Names over keyv on the embedded database, `names.db` in that folder, which must be there. One that
 * cannot be opened is replaced by one in memory until the next start; every failure is observed. Keys,
 * whose parts contain no space:
 *
 *     tag <registry>/<name> <tag>         link <registry>/<name> <digest>
 *     repository <registry>/<name>        document <kind> <key>
 *     pin <registry>/<name> <reference>
 */
export async function openNames(options: {
  folder: string;
  observe: Observe;
  /** Told when a tag names something else than before, and when it is forgotten. */
  onTagChanged?: ((change: TagChange) => void) | undefined;
}): Promise<Names> {
  const table = new NameTable(path.join(options.folder, 'names.db'), options.observe);
  return {
    tags: new KeyvTags(table, options.onTagChanged ?? (() => {})),
    links: new KeyvLinks(table),
    documents: {
      find: (kind, key) => table.find(`document ${kind} ${key}`),
      put: async (kind, key, document) => {
        await table.put([{ key: `document ${kind} ${key}`, value: document }]);
      },
      remove: (kind, key) => table.remove(`document ${kind} ${key}`),
    },
    pins: await openPins(table),
    close: () => table.close(),
  };
}

/** Keyv, and the scans by prefix that it lacks. Failures are observed, and read as misses. */
class NameTable {
  readonly #adapter: SqliteKeyv;
  readonly #keyv: Keyv;
  readonly #observe: Observe;

  constructor(file: string, observe: Observe) {
    this.#observe = observe;
    this.#adapter = this.#open(file);
    this.#keyv = new Keyv({ store: this.#adapter });
    // With a listener keyv answers as if the key were not there, and throws nothing.
    this.#keyv.on('error', (error: unknown) => this.#failed('query', error));
  }

  find<T>(key: string): Promise<T | undefined> {
    return this.#keyv.get<T>(key);
  }

  findMany<T>(keys: string[]): Promise<(T | undefined)[]> {
    return this.#keyv.getMany<T>(keys);
  }

  /** All or none; whether they were written. */
  async put(entries: { key: string; value: unknown }[]): Promise<boolean> {
    const written = await this.#keyv.setMany(entries);
    return written.every(Boolean);
  }

  async remove(key: string): Promise<void> {
    await this.#keyv.delete(key);
  }

  /** What follows the prefix, and the value, in the order of the keys. */
  async *scan<T>(prefix: string): AsyncGenerator<[string, T], void> {
    try {
      for await (const [key, text] of this.#adapter.entries(prefix)) {
        const kept = await this.#keyv.decode<T>(text);
        if (kept?.value !== undefined) yield [key.slice(prefix.length), kept.value];
      }
    } catch (error) {
      this.#failed('scan', error);
    }
  }

  close(): Promise<void> {
    return this.#keyv.disconnect();
  }

  #open(file: string): SqliteKeyv {
    try {
      return new SqliteKeyv(file, (aside) =>
        this.#failed('open', `${file} was no readable database; it is put aside as ${aside}`),
      );
    } catch (error) {
      this.#failed('open', error);
      return new SqliteKeyv(':memory:');
    }
  }

  #failed(operation: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#observe({ kind: 'names-failed', operation, message });
  }
}

class KeyvTags implements TagStore {
  readonly #table: NameTable;
  readonly #changed: (change: TagChange) => void;

  constructor(table: NameTable, changed: (change: TagChange) => void) {
    this.#table = table;
    this.#changed = changed;
  }

  find(repository: Repository, tag: string): Promise<TagRecord | undefined> {
    return this.#table.find<TagRecord>(tagKey(repository, tag));
  }

  async seen(
    repository: Repository,
    tag: string,
    { digest, mediaType, size }: Descriptor,
    wallMs: number,
  ): Promise<TagRecord> {
    const before = await this.find(repository, tag);
    const [latest, ...older] = before?.history ?? [];
    const history =
      latest?.digest === digest
        ? [{ ...latest, lastSeenMs: wallMs }, ...older]
        : [{ digest, firstSeenMs: wallMs, lastSeenMs: wallMs }, ...(before?.history ?? [])].slice(
            0,
            historyMax,
          );
    const isHeldBack = before?.rejected !== undefined && before.digest === digest;
    const record = {
      digest,
      mediaType,
      sizeBytes: size,
      checkedMs: wallMs,
      history,
      ...(isHeldBack ? { rejected: before.rejected } : {}),
    };
    const entry = { key: tagKey(repository, tag), value: record };
    await this.#table.put(latest === undefined ? [entry, repositoryEntry(repository)] : [entry]);
    if (latest?.digest !== digest) this.#changed({ repository, tag, digest, mediaType });
    return record;
  }

  async rollBack(repository: Repository, tag: string): Promise<TagRecord | undefined> {
    const before = await this.find(repository, tag);
    const [latest, earlier, ...older] = before?.history ?? [];
    if (before === undefined || latest === undefined || earlier === undefined) return undefined;
    const link = await this.#table.find<Link>(linkKey(repository, earlier.digest));
    const { mediaType, sizeBytes } = link ?? before;
    const record = {
      digest: earlier.digest,
      mediaType,
      sizeBytes,
      checkedMs: before.checkedMs,
      history: [earlier, latest, ...older],
      rejected: before.digest,
    };
    await this.#table.put([{ key: tagKey(repository, tag), value: record }]);
    this.#changed({ repository, tag, digest: earlier.digest, mediaType });
    return record;
  }

  async remove(repository: Repository, tag: string): Promise<void> {
    const before = await this.find(repository, tag);
    await this.#table.remove(tagKey(repository, tag));
    await forgetIfEmpty(this.#table, repository);
    if (before !== undefined) {
      this.#changed({ repository, tag, digest: undefined, mediaType: undefined });
    }
  }

  async *walk(repository: Repository): AsyncGenerator<{ tag: string; record: TagRecord }, void> {
    for await (const [tag, record] of this.#table.scan<TagRecord>(tagKey(repository, ''))) {
      yield { tag, record };
    }
  }
}

class KeyvLinks implements LinkStore {
  readonly #table: NameTable;
  /** Of what could not be written the memory is all there is: it is found, and written the next time. */
  readonly #hot = new LRUCache<string, { readonly link: Link; readonly isWritten: boolean }>({
    max: linksMax,
  });

  constructor(table: NameTable) {
    this.#table = table;
  }

  async find(repository: Repository, digest: Digest): Promise<Link | undefined> {
    const key = linkKey(repository, digest);
    const hot = this.#hot.get(key);
    if (hot !== undefined) return hot.link;
    const link = await this.#table.find<Link>(key);
    if (link !== undefined) this.#hot.set(key, { link, isWritten: true });
    return link;
  }

  async add(repository: Repository, links: readonly Link[]): Promise<void> {
    const wanted = new Map<string, Link>();
    for (const link of links) {
      const key = linkKey(repository, link.digest);
      const hot = this.#hot.get(key);
      if (hot?.isWritten === true && holds(hot.link, link)) continue;
      if (!holds(wanted.get(key), link)) wanted.set(key, link);
    }
    if (wanted.size === 0) return;
    const written = await this.#table.findMany<Link>([...wanted.keys()]);
    for (const [at, [key, link]] of [...wanted].entries()) {
      const kept = written[at];
      if (kept === undefined || !holds(kept, link)) continue;
      this.#hot.set(key, { link: kept, isWritten: true });
      wanted.delete(key);
    }
    await this.#write(repository, wanted);
  }

  async remove(repository: Repository, digest: Digest): Promise<void> {
    const key = linkKey(repository, digest);
    this.#hot.delete(key);
    await this.#table.remove(key);
    await forgetIfEmpty(this.#table, repository);
  }

  async *walk(repository: Repository): AsyncGenerator<Link, void> {
    const prefix = `link ${repositoryKey(repository)} `;
    for await (const [, link] of this.#table.scan<Link>(prefix)) yield link;
  }

  async *repositories(): AsyncGenerator<Repository, void> {
    for await (const [text] of this.#table.scan(repositoryPrefix)) {
      const slash = text.indexOf('/');
      yield { registry: text.slice(0, slash), name: text.slice(slash + 1) };
    }
  }

  async #write(repository: Repository, links: ReadonlyMap<string, Link>): Promise<void> {
    if (links.size === 0) return;
    const entries: { key: string; value: unknown }[] = [];
    let hasManifest = false;
    for (const [key, link] of links) {
      entries.push({ key, value: link });
      hasManifest ||= link.kind === 'manifest';
    }
    if (hasManifest) entries.push(repositoryEntry(repository));
    const isWritten = await this.#table.put(entries);
    for (const [key, link] of links) this.#hot.set(key, { link, isWritten });
  }
}

/** Whether what is kept says all that a new link would; of two sizes the newer one is believed. */
function holds(kept: Link | undefined, link: Link): boolean {
  if (kept === undefined) return false;
  if (kept.kind !== link.kind) return kept.kind === 'manifest';
  return kept.sizeBytes === link.sizeBytes;
}

/**
 * Takes a repository that has neither tag nor manifest from the list. The entry goes first and comes
 * back: so one that is written meanwhile by somebody else is never lost.
 */
async function forgetIfEmpty(table: NameTable, repository: Repository): Promise<void> {
  const entry = repositoryEntry(repository);
  await table.remove(entry.key);
  if (await hasNames(table, repository)) await table.put([entry]);
}

async function hasNames(table: NameTable, repository: Repository): Promise<boolean> {
  for await (const _ of table.scan(tagKey(repository, ''))) return true;
  for await (const [, { kind }] of table.scan<Link>(`link ${repositoryKey(repository)} `)) {
    if (kind === 'manifest') return true;
  }
  return false;
}

const repositoryPrefix = 'repository ';

function repositoryEntry(repository: Repository): { key: string; value: unknown } {
  return { key: repositoryPrefix + repositoryKey(repository), value: repository };
}

function tagKey(repository: Repository, tag: string): string {
  return `tag ${repositoryKey(repository)} ${tag}`;
}

function linkKey(repository: Repository, digest: Digest): string {
  return `link ${repositoryKey(repository)} ${digest}`;
}

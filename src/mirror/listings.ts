import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import type { Outcome } from '../base/events.ts';
import { algorithmOf, encodedOf, type Digest } from '../oci/digest.ts';
import { isMirrorError } from '../oci/errors.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { Names } from '../store/names.ts';
import type { Wait } from '../upstream/upstream.ts';
import { Flights } from './flights.ts';
import type { Manifests } from './manifests.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';

/** Lists kept in memory, by the entries that they have. */
const entriesMax = 500_000;

export interface ListAnswer<T> {
  readonly items: readonly T[];
  readonly outcome: Outcome;
  readonly warning?: string | undefined;
}

interface KnownList {
  readonly items: readonly unknown[];
  readonly checkedMs: number;
}

type Kind = 'tags' | 'referrers';

/** Tag lists and referrers: upstream's, kept for `tagTtl`, and the last known ones while it is away. */
export class Listings {
  readonly #names: Names;
  readonly #clock: Clock;
  readonly #manifests: Manifests;
  readonly #known = new LRUCache<string, KnownList>({
    maxSize: entriesMax,
    sizeCalculation: ({ items }) => items.length + 1,
  });
  readonly #asking = new Flights<ListAnswer<unknown>>();

  constructor(parts: {
    readonly names: Names;
    readonly clock: Clock;
    readonly manifests: Manifests;
  }) {
    this.#names = parts.names;
    this.#clock = parts.clock;
    this.#manifests = parts.manifests;
  }

  /** @throws MirrorError NAME_UNKNOWN, DENIED, or why upstream cannot say and nothing is known */
  async tags(repository: Repository, from: MirroredUpstream): Promise<ListAnswer<string>> {
    const answer = await this.#list('tags', repositoryKey(repository), from, async (wait) => {
      const tags = await from.upstream.listTags(repository.name, wait);
      return [...new Set(tags)].sort();
    });
    return answer as ListAnswer<string>;
  }

  async referrers(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ): Promise<ListAnswer<unknown>> {
    const key = `${repositoryKey(repository)}@${digest}`;
    return this.#list('referrers', key, from, async (wait) => {
      const listed = await from.upstream.referrers(repository.name, digest, wait);
      return listed ?? this.#referrersByTag(repository, digest, from);
    });
  }

  /** The tag schema, for registries without the API: distribution-spec, «Unavailable Referrers API». */
  async #referrersByTag(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ): Promise<unknown[]> {
    const tag = `${algorithmOf(digest)}-${encodedOf(digest).slice(0, 64)}`;
    try {
      const { bytes } = await this.#manifests.get(repository, { tag }, from);
      const { manifests } = JSON.parse(bytes.toString('utf8')) as { manifests?: unknown };
      return Array.isArray(manifests) ? (manifests as unknown[]) : [];
    } catch (error) {
      // Nothing refers to it, or what has that tag is no index.
      if (isMirrorError(error, 'MANIFEST_UNKNOWN', 'UPSTREAM_INVALID')) return [];
      throw error;
    }
  }

  async #list(
    kind: Kind,
    key: string,
    from: MirroredUpstream,
    ask: (wait: Wait) => Promise<unknown[]>,
  ): Promise<ListAnswer<unknown>> {
    const known = this.#known.get(`${kind} ${key}`);
    if (known !== undefined && this.#clock.monotonicMs() - known.checkedMs < from.tags.tagTtlMs) {
      return { items: known.items, outcome: 'HIT' };
    }
    const { result, joined } = this.#asking.share(`${kind} ${key}`, async () => {
      const last = known?.items ?? (await this.#lastKnown(kind, key));
      // With a list at hand nobody is made to wait long for a better one.
      const wait = last === undefined ? {} : { headersTimeoutMs: from.revalidateTimeoutMs };
      try {
        const items = await ask(wait);
        this.#known.set(`${kind} ${key}`, { items, checkedMs: this.#clock.monotonicMs() });
        await this.#names.documents.put(kind, key, items);
        return { items, outcome: 'MISS' };
      } catch (error) {
        const isAway = isMirrorError(
          error,
          'UPSTREAM_UNAVAILABLE',
          'UPSTREAM_LIMITED',
          'OVERLOADED',
        );
        if (!isAway || last === undefined) throw error;
        const warning = `this list is served from the cache: ${error.message}`;
        return { items: last, outcome: 'STALE', warning };
      }
    });
    const answer = await result;
    return joined && answer.outcome === 'MISS' ? { ...answer, outcome: 'JOINED' } : answer;
  }

  async #lastKnown(kind: Kind, key: string): Promise<readonly unknown[] | undefined> {
    const document = await this.#names.documents.find(kind, key);
    return Array.isArray(document) ? (document as unknown[]) : undefined;
  }
}

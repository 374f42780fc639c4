import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import type { Outcome } from '../base/events.ts';
import type { Priority } from '../base/limiter.ts';
import { algorithmOf, encodedOf, type Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { incompleteWarning } from '../oci/incomplete-list.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { Names } from '../store/names.ts';
import { isCertain } from '../upstream/refusal.ts';
import type { Listed, Wait } from '../upstream/upstream.ts';
import { Flights } from './flights.ts';
import type { Manifests } from './manifests.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';
import { within } from './retry.ts';

/** Lists kept in memory, by the entries that they have. */
const entriesMax = 500_000;

/** Clients give up after 30 s: what has come of a long list by then is more than nothing. */
const patienceMsMax = 20_000;

/** What makes a list incomplete may be over soon: it is not believed for long. */
const incompleteMsMax = 30_000;

export interface ListAnswer<T> extends Listed<T> {
  readonly outcome: Outcome;
  /** For the client: why it may be old, or not all there is. */
  readonly warning?: string | undefined;
  /** Since upstream last gave it; where it is an old one and that is known. */
  readonly ageSeconds?: number | undefined;
}

interface KnownList extends OldList {
  /** On the monotonic scale. */
  readonly checkedMs: number;
}

/** Upstream's list of some time ago. */
interface OldList extends Listed<unknown> {
  /** By the wall clock; undefined: an earlier version kept it, without the time. */
  readonly sinceMs: number | undefined;
}

/** A list on its way, and what has come of it. */
interface Arriving {
  readonly sinceMs: number;
  readonly items: string[];
}

type Kind = 'tags' | 'referrers';

type AskFor = (wait: Wait, arriving: Arriving, isKnown: boolean) => Promise<Listed<unknown>>;

/** Whether a list is kept for outages. */
type IsWorthKeeping = (items: readonly unknown[]) => boolean | Promise<boolean>;

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
  readonly #arriving = new Map<string, Arriving>();

  constructor(parts: {
    readonly names: Names;
    readonly clock: Clock;
    readonly manifests: Manifests;
  }) {
    this.#names = parts.names;
    this.#clock = parts.clock;
    this.#manifests = parts.manifests;
  }

  /**
   * Sorted; what has come of them when they take longer than a client waits. They go on coming then, and
   * the next client finds them here.
   * @throws MirrorError NAME_UNKNOWN, DENIED, or why upstream cannot say and nothing is known
   */
  async tags(repository: Repository, from: MirroredUpstream): Promise<ListAnswer<string>> {
    const answer = this.allTags(repository, from);
    const inTime = this.#inTime('tags', repositoryKey(repository), from, answer);
    return (await inTime) as ListAnswer<string>;
  }

  /** As `tags`, however long they take: for what has no client that waits. */
  async allTags(repository: Repository, from: MirroredUpstream): Promise<ListAnswer<string>> {
    const answer = await this.#list(
      'tags',
      repositoryKey(repository),
      from,
      async (wait, arriving) => {
        const { items, missing } = await from.upstream.listTags(repository.name, wait, (tags) => {
          for (const tag of tags) arriving.items.push(tag);
        });
        return { items: sorted(items), missing };
      },
    );
    return answer as ListAnswer<string>;
  }

  /**
   * An index always, though it be empty, where upstream answers at all: from its API, else by the tag
   * schema.
   * @throws MirrorError DENIED, or why upstream cannot say and nothing is known
   */
  async referrers(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ): Promise<ListAnswer<unknown>> {
    const key = `${repositoryKey(repository)}@${digest}`;
    const ask: AskFor = async (wait, _arriving, isKnown) => {
      let missing: string | undefined;
      try {
        const listed = await from.upstream.referrers(repository.name, digest, wait);
        if (listed !== undefined) return listed;
      } catch (error) {
        // A list at hand is better than what may be a part of it.
        if (!isOfTheApi(error) || (isKnown && isAway(error)) || from.upstream.isDown) throw error;
        missing = error.message;
      }
      try {
        return { items: await this.#referrersByTag(repository, digest, from), missing };
      } catch (error) {
        if (isKnown || !isMirrorError(error, 'UPSTREAM_LIMITED')) throw error;
        return { items: [], missing: missing ?? error.message };
      }
    };
    // That nothing refers to what nobody has pulled here may be asked without end.
    const isWorthKeeping: IsWorthKeeping = async (items) =>
      items.length > 0 || (await this.#names.links.find(repository, digest)) !== undefined;
    const answer = this.#list('referrers', key, from, ask, isWorthKeeping);
    return this.#inTime('referrers', key, from, answer);
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

  /** The list, or what there is of it when it takes longer than a client waits; it goes on coming then. */
  async #inTime(
    kind: Kind,
    key: string,
    from: MirroredUpstream,
    answer: Promise<ListAnswer<unknown>>,
  ): Promise<ListAnswer<unknown>> {
    const arriving = this.#arriving.get(`${kind} ${key}`);
    if (arriving === undefined) return answer;
    // It is met below.
    answer.catch(() => {});
    const last = await this.#lastKnown(kind, key);
    const patienceMs =
      last === undefined
        ? Math.min(from.headersTimeoutMs, patienceMsMax)
        : from.revalidateTimeoutMs;
    const waitedMs = this.#clock.monotonicMs() - arriving.sinceMs;
    const slow = `upstream ${from.upstream.registry} has not sent all of it yet`;
    const tooLate = new MirrorError('UPSTREAM_UNAVAILABLE', slow);
    try {
      return await within(answer, Math.max(0, patienceMs - waitedMs), () => tooLate);
    } catch (error) {
      if (error !== tooLate) throw error;
      if (last !== undefined) return this.#staleAnswer(last, slow);
      if (arriving.items.length === 0) return answer;
      return answerOf({ items: sorted(arriving.items), missing: slow }, 'MISS');
    }
  }

  async #list(
    kind: Kind,
    key: string,
    from: MirroredUpstream,
    ask: AskFor,
    isWorthKeeping: IsWorthKeeping = () => true,
  ): Promise<ListAnswer<unknown>> {
    const flight = `${kind} ${key}`;
    const known = this.#known.get(flight);
    if (known !== undefined && this.#isFresh(known, from)) return answerOf(known, 'HIT');
    const { result, joined } = this.#asking.share(flight, async () => {
      const arriving: Arriving = { sinceMs: this.#clock.monotonicMs(), items: [] };
      this.#arriving.set(flight, arriving);
      try {
        const isWhole = known !== undefined && known.missing === undefined;
        const last = isWhole ? known : ((await this.#lastKnown(kind, key)) ?? known);
        const isKnown = last !== undefined && last.missing === undefined;
        const askNow = (wait: Wait): Promise<Listed<unknown>> => ask(wait, arriving, isKnown);
        return await this.#ask(kind, key, from, last, askNow, isWorthKeeping);
      } finally {
        this.#arriving.delete(flight);
      }
    });
    const answer = await result;
    return joined && answer.outcome === 'MISS' ? { ...answer, outcome: 'JOINED' } : answer;
  }

  async #ask(
    kind: Kind,
    key: string,
    from: MirroredUpstream,
    last: OldList | undefined,
    ask: (wait: Wait) => Promise<Listed<unknown>>,
    isWorthKeeping: IsWorthKeeping,
  ): Promise<ListAnswer<unknown>> {
    // With a list at hand it stands back: a registry that is slow with lists has places left for clients.
    const priority = (): Priority => (last === undefined ? 'client' : 'prewarm');
    try {
      const listed = await ask({ priority, knownMs: from.knownMs });
      const sinceMs = this.#clock.wallMs();
      const checkedMs = this.#clock.monotonicMs();
      this.#known.set(`${kind} ${key}`, { ...listed, sinceMs, checkedMs });
      const isKept = listed.missing === undefined && (await isWorthKeeping(listed.items));
      if (isKept) await this.#names.documents.put(kind, key, { items: listed.items, sinceMs });
      return answerOf(listed, 'MISS');
    } catch (error) {
      if (last === undefined || !isNoAnswer(error)) throw error;
      return this.#staleAnswer(last, error.message);
    }
  }

  #isFresh({ checkedMs, missing }: KnownList, { tags }: MirroredUpstream): boolean {
    const ttlMs = missing === undefined ? tags.tagTtlMs : Math.min(tags.tagTtlMs, incompleteMsMax);
    return this.#clock.monotonicMs() - checkedMs < ttlMs;
  }

  /** The last whole list. */
  async #lastKnown(kind: Kind, key: string): Promise<OldList | undefined> {
    const document = await this.#names.documents.find(kind, key);
    if (Array.isArray(document)) {
      return { items: document as unknown[], missing: undefined, sinceMs: undefined };
    }
    const { items, sinceMs } = (document ?? {}) as { items?: unknown; sinceMs?: number };
    if (!Array.isArray(items)) return undefined;
    return { items: items as unknown[], missing: undefined, sinceMs };
  }

  #staleAnswer({ items, missing, sinceMs }: OldList, why: string): ListAnswer<unknown> {
    const ageMs = sinceMs === undefined ? undefined : this.#clock.wallMs() - sinceMs;
    return {
      items,
      missing,
      outcome: 'STALE',
      warning: `this list is served from the cache: ${why}`,
      ageSeconds: ageMs === undefined ? undefined : Math.max(0, Math.round(ageMs / 1000)),
    };
  }
}

function answerOf<T>({ items, missing }: Listed<T>, outcome: Outcome): ListAnswer<T> {
  const warning = missing === undefined ? undefined : incompleteWarning(missing);
  return { items, missing, outcome, warning };
}

function sorted(tags: readonly string[]): string[] {
  return [...new Set(tags)].sort();
}

/** Upstream is away, or what answers is not it or not right: nothing that a known list is wrong by. */
function isNoAnswer(error: unknown): error is MirrorError {
  if (isMirrorError(error, 'NAME_UNKNOWN')) return !isCertain(error);
  return isAway(error) || isMirrorError(error, 'UPSTREAM_INVALID');
}

function isAway(error: unknown): error is MirrorError {
  return isMirrorError(error, 'UPSTREAM_UNAVAILABLE', 'UPSTREAM_LIMITED', 'OVERLOADED');
}

/** It may be the referrers API alone that fails so. */
function isOfTheApi(error: unknown): error is MirrorError {
  return isMirrorError(
    error,
    'DENIED',
    'UPSTREAM_INVALID',
    'UPSTREAM_LIMITED',
    'UPSTREAM_UNAVAILABLE',
  );
}

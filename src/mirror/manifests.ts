import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { isKnownType } from '../oci/manifest.ts';
import { repositoryKey, type Reference, type Repository } from '../oci/reference.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { Names, TagRecord } from '../store/names.ts';
import type { Resolved } from '../upstream/upstream.ts';
import { Flights } from './flights.ts';
import { Completeness } from './completeness.ts';
import { afterAskFailed, failureOf, freshnessOf } from './freshness.ts';
import { KnownTags, type KnownTag } from './known-tags.ts';
import { ManifestFetcher, type OnFetched } from './manifest-fetcher.ts';
import { ManifestShelf, type HeldManifest } from './manifest-shelf.ts';
import type { ManifestAnswer, ManifestWithBytes } from './manifest-answer.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';
import { Patience } from './patience.ts';

/**
 * Manifests: by digest immutable, by tag as fresh as `tagTtl`.
 *
 *   tag ──fresh──▶ digest ──▶ memory ─▶ store ─▶ upstream GET
 *    └──old──▶ one HEAD for all who ask ──same──▶ REVALIDATED
 *                     │                └─other──▶ GET by digest
 *                     └─ no answer ──▶ the copy, STALE, when the policy allows it
 */
export class Manifests {
  readonly #observe: Observe;
  readonly #completeness: Completeness;
  readonly #shelf: ManifestShelf;
  readonly #fetcher: ManifestFetcher;
  readonly #tags: KnownTags;
  readonly #asking = new Flights<ManifestAnswer>();
  readonly #patience = new Patience();

  constructor(parts: {
    readonly store: BlobStore;
    readonly names: Names;
    readonly clock: Clock;
    readonly observe: Observe;
    readonly settings: { readonly staleIncomplete: 'refuse' | 'serve' };
    readonly onFetched: OnFetched;
    /** Told of each tag that names something else than before. */
    readonly onMoved: (repository: Repository) => void;
  }) {
    const { store, observe, onFetched } = parts;
    this.#shelf = new ManifestShelf({ store, links: parts.names.links, observe });
    this.#fetcher = new ManifestFetcher({ store, shelf: this.#shelf, onFetched });
    this.#tags = new KnownTags(parts.names.tags, parts.clock, parts.onMoved);
    this.#observe = observe;
    this.#completeness = new Completeness(this.#shelf, parts.settings);
  }

  /** The answer when it is in memory and fresh; the path of nearly every request. */
  findHot(
    repository: Repository,
    reference: Reference,
    from: MirroredUpstream,
  ): ManifestWithBytes | undefined {
    let digest: Digest;
    // What is not whole is refused then, which takes a look at the disk.
    if (this.#completeness.isAskedOf(from)) return undefined;
    if (reference.digest === undefined) {
      const known = this.#tags.findHot(repository, reference.tag);
      if (known === undefined) return undefined;
      if (freshnessOf(this.#tags.ageOf(known), from.tags) !== 'serve') return undefined;
      digest = known.record.digest;
    } else {
      digest = reference.digest;
    }
    const held = this.#shelf.findHot(repository, digest);
    return held === undefined ? undefined : { ...held, outcome: 'HIT' };
  }

  async get(
    repository: Repository,
    reference: Reference,
    from: MirroredUpstream,
  ): Promise<ManifestWithBytes> {
    if (reference.digest !== undefined)
      return this.#getByDigest(repository, reference.digest, from);
    const answer = await this.#getTag(repository, reference.tag, from);
    await this.#completeness.refuseIncomplete(repository, answer, answer.warning, from);
    return answer;
  }

  /** As `get`, without the bytes: upstream is never asked for more than a HEAD for it. */
  async describe(
    repository: Repository,
    reference: Reference,
    from: MirroredUpstream,
  ): Promise<ManifestAnswer> {
    if (reference.tag !== undefined) {
      const answer = await this.#askTag(repository, reference.tag, from, 'describe');
      if (answer.warning === undefined && !from.upstream.isDown) return answer;
      const held = await this.#byDigest(repository, answer.descriptor.digest, from);
      await this.#completeness.refuseIncomplete(repository, held, answer.warning, from);
      return answer;
    }
    const held = await this.#shelf.find(repository, reference.digest);
    if (held !== undefined) return { descriptor: held.descriptor, outcome: 'HIT' };
    const { digest } = reference;
    const key = `${repositoryKey(repository)}@${digest}`;
    const { result, joined } = this.#asking.share(key, async () => {
      const resolved = await from.upstream.resolve(repository.name, { digest }, {});
      const descriptor = completeDescriptor({ ...resolved, digest: resolved.digest ?? digest });
      if (descriptor?.digest === digest) return { descriptor, outcome: 'MISS' };
      return this.#getByDigest(repository, digest, from);
    });
    return asJoined(await result, joined);
  }

  /** What was said of it is asked anew: it was purged, or came here by another way. */
  async forget(repository: Repository, { tag, digest }: Reference): Promise<void> {
    if (tag !== undefined) await this.#tags.forget(repository, tag);
    if (digest !== undefined) this.#shelf.forget(repository, digest);
  }

  /** The tag was changed in the names. */
  reread(repository: Repository, tag: string): void {
    this.#tags.reread(repository, tag);
  }

  /** A tag names from now on what is here under that digest. @throws MirrorError MANIFEST_UNKNOWN */
  async adopt(repository: Repository, tag: string, digest: Digest): Promise<void> {
    const held = await this.#shelf.find(repository, digest);
    if (held === undefined) {
      throw new MirrorError('MANIFEST_UNKNOWN', `${digest} is not here, so no tag can name it`);
    }
    await this.#tags.seen(repository, tag, held.descriptor);
  }

  /** What is here and linked to that repository; asks nobody, and does not count as a use. */
  peek(repository: Repository, digest: Digest): Promise<HeldManifest | undefined> {
    return this.#shelf.peek(repository, digest);
  }

  /** Whether a manifest and the blobs of one of its images are here; does not count as a use. */
  async isWhole(repository: Repository, digest: Digest): Promise<boolean> {
    const held = await this.#shelf.peek(repository, digest);
    return held !== undefined && (await this.#shelf.isComplete(held));
  }

  /** Resolves when everything that was answered is also on the disk. */
  async written(): Promise<void> {
    await this.#shelf.written();
  }

  async #getByDigest(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ): Promise<ManifestWithBytes> {
    const held = await this.#shelf.find(repository, digest);
    if (held !== undefined) {
      await this.#completeness.refuseIncomplete(repository, held, undefined, from);
      return { ...held, outcome: 'HIT' };
    }
    const { result, joined } = this.#fetcher.byDigest(repository, digest, from);
    return { ...(await result), outcome: joined ? 'JOINED' : 'MISS' };
  }

  async #byDigest(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
    signal?: AbortSignal,
  ): Promise<HeldManifest> {
    const held = await this.#shelf.find(repository, digest);
    return held ?? this.#fetcher.byDigest(repository, digest, from, signal).result;
  }

  /**
   * What a tag names. What a HEAD said of it may be gone by now, where a registry drops what has lost
   * its tag: the tag itself is asked for then.
   */
  async #getTag(
    repository: Repository,
    tag: string,
    from: MirroredUpstream,
  ): Promise<ManifestWithBytes> {
    const answer = await this.#askTag(repository, tag, from, 'get');
    try {
      return { ...answer, ...(await this.#byDigest(repository, answer.descriptor.digest, from)) };
    } catch (error) {
      if (!isMirrorError(error, 'MANIFEST_UNKNOWN') || answer.outcome === 'STALE') throw error;
      const key = `${repositoryKey(repository)}:${tag}`;
      const { result } = this.#asking.share(key, () => this.#fetchTag(repository, tag, from));
      const anew = await result;
      return { ...anew, ...(await this.#byDigest(repository, anew.descriptor.digest, from)) };
    }
  }

  async #askTag(
    repository: Repository,
    tag: string,
    from: MirroredUpstream,
    want: 'get' | 'describe',
  ): Promise<ManifestAnswer> {
    const key = `${repositoryKey(repository)}:${tag}`;
    const known = await this.#tags.find(repository, tag);
    if (known !== undefined && freshnessOf(this.#tags.ageOf(known), from.tags) === 'serve') {
      return { descriptor: descriptorOf(known.record), outcome: 'HIT' };
    }
    const { result, joined } = this.#asking.share(key, () => {
      if (known !== undefined) return this.#revalidate(repository, tag, known, from);
      return want === 'get'
        ? this.#fetchTag(repository, tag, from)
        : this.#resolveTag(repository, tag, from);
    });
    return asJoined(await result, joined);
  }

  async #revalidate(
    repository: Repository,
    tag: string,
    known: KnownTag,
    from: MirroredUpstream,
  ): Promise<ManifestAnswer> {
    try {
      return await this.#patience.ask({
        registry: repository.registry,
        key: `${repository.name}:${tag}`,
        isDown: from.upstream.isDown,
        budgetMs: from.revalidateTimeoutMs,
        ask: (signal) => this.#renew(repository, tag, known, from, signal),
      });
    } catch (error) {
      return await this.#staleOrThrow(repository, tag, known, from, error);
    }
  }

  /** Asks where the tag points now, and fetches that when it is something else. */
  async #renew(
    repository: Repository,
    tag: string,
    known: KnownTag,
    from: MirroredUpstream,
    signal: AbortSignal,
  ): Promise<ManifestAnswer> {
    const wait = { signal, knownMs: from.knownMs ?? known.checkedMs };
    const resolved = await from.upstream.resolve(repository.name, { tag }, wait);
    const now =
      resolved.digest ??
      (await this.#fetcher.fetch(repository, { tag }, from, signal)).descriptor.digest;
    // A person may have rolled it back meanwhile.
    const { record } = (await this.#tags.find(repository, tag)) ?? known;
    if (now === record.digest || now === record.rejected) {
      await this.#tags.seen(repository, tag, descriptorOf(record));
      return { descriptor: descriptorOf(record), outcome: 'REVALIDATED' };
    }
    const moved = this.#byDigest(repository, now, from, signal);
    const held = await moved.catch((error: unknown) => {
      throw isMirrorError(error, 'MANIFEST_UNKNOWN') ? namesNothing(repository, tag, error) : error;
    });
    await this.#tags.seen(repository, tag, held.descriptor);
    return { descriptor: held.descriptor, outcome: 'MISS' };
  }

  async #staleOrThrow(
    repository: Repository,
    tag: string,
    known: KnownTag,
    from: MirroredUpstream,
    error: unknown,
  ): Promise<ManifestAnswer> {
    if (!isMirrorError(error)) throw error;
    const age = this.#tags.ageOf(known);
    const failure = failureOf(error);
    const decision = afterAskFailed(failure, age, from.tags);
    if (decision === 'refuse') {
      // Else it would be back as soon as upstream does not answer.
      if (failure === 'gone') await this.#tags.forget(repository, tag);
      throw error;
    }
    const descriptor = descriptorOf(known.record);
    const ageSeconds = Math.max(0, Math.round(age.wallAgeMs / 1000));
    if (decision === 'warn') {
      const { message } = error;
      const key = repositoryKey(repository);
      this.#observe({ kind: 'served-stale', repository: key, reference: tag, message });
    }
    const warning = `${repositoryKey(repository)}:${tag} is served from the cache, last confirmed ${ageSeconds} seconds ago: ${error.message}`;
    return { descriptor, outcome: 'STALE', warning, ageSeconds };
  }

  async #fetchTag(
    repository: Repository,
    tag: string,
    from: MirroredUpstream,
  ): Promise<ManifestAnswer> {
    const held = await this.#fetcher.fetch(repository, { tag }, from);
    await this.#tags.seen(repository, tag, held.descriptor);
    return { descriptor: held.descriptor, outcome: 'MISS' };
  }

  async #resolveTag(
    repository: Repository,
    tag: string,
    from: MirroredUpstream,
  ): Promise<ManifestAnswer> {
    const resolved = await from.upstream.resolve(repository.name, { tag }, {});
    const descriptor = completeDescriptor(resolved);
    if (descriptor === undefined) return this.#fetchTag(repository, tag, from);
    await this.#tags.seen(repository, tag, descriptor);
    return { descriptor, outcome: 'MISS' };
  }
}

function descriptorOf({ digest, mediaType, sizeBytes }: TagRecord): Descriptor {
  return { digest, mediaType, size: sizeBytes };
}

/** Of a tag that is there: what it names may be on its way there, and the tag is not gone. */
function namesNothing({ registry }: Repository, tag: string, cause: MirrorError): MirrorError {
  return new MirrorError(
    'UPSTREAM_INVALID',
    `upstream ${registry} does not have what its tag ${tag} names: ${cause.message}`,
    { cause },
  );
}

function asJoined(answer: ManifestAnswer, joined: boolean): ManifestAnswer {
  return joined && answer.outcome === 'MISS' ? { ...answer, outcome: 'JOINED' } : answer;
}

/** What a HEAD says, when that is all there is to know; headers lie more often than manifests do. */
function completeDescriptor({ digest, mediaType, sizeBytes }: Resolved): Descriptor | undefined {
  if (digest === undefined || mediaType === undefined || !isKnownType(mediaType)) return undefined;
  return sizeBytes === undefined || sizeBytes === 0
    ? undefined
    : { digest, mediaType, size: sizeBytes };
}

import type { Clock } from '../base/clock.ts';
import type { Observe, Outcome } from '../base/events.ts';
import type { Work } from '../base/work.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { isForeign } from '../oci/manifest.ts';
import type { Reference, Repository } from '../oci/reference.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { Names } from '../store/names.ts';
import type { LimitPause } from '../upstream/cooldown.ts';
import type { Quota } from '../upstream/quota.ts';
import type { Verifier } from '../store/verify/verifier.ts';
import { Blobs, type BlobAnswer } from './blobs.ts';
import { Archives } from './archive/archives.ts';
import { CacheCare } from './care/cache-care.ts';
import type { FillProgress } from './fill-parts.ts';
import { Listings, type ListAnswer } from './listings.ts';
import type { PopularTag } from './prewarm/popularity.ts';
import { Prewarm, type Prewarmed, type PrewarmRule, type ChosenImage } from './prewarm/prewarm.ts';
import { Push } from './replicate/push.ts';
import { probeQuotas } from './probe-quotas.ts';
import { Sync } from './replicate/sync.ts';
import type { ManifestAnswer, ManifestWithBytes } from './manifest-answer.ts';
import { Manifests } from './manifests.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';

export interface MirrorOptions {
  readonly upstreams: ReadonlyMap<string, MirroredUpstream>;
  readonly store: BlobStore;
  readonly names: Names;
  readonly clock: Clock;
  readonly observe: Observe;
  readonly settings: MirrorSettings;
  readonly verifier: Verifier;
}

/** Read at each use: they may change. */
export interface MirrorSettings {
  /** The upstream of a request that names none. */
  readonly defaultUpstream: string;
  /** What a client is told of a blob that upstream cannot give; see `onlyUnavailable`. */
  readonly blobUnavailable: 404 | 503;
  readonly staleIncomplete: 'refuse' | 'serve';
  readonly scrubRateBytesPerSecond: number;
}

/** How an upstream does. */
export interface UpstreamState {
  readonly registry: string;
  /** Its last answers were failures, it limits us, or it is set to offline: it is not asked now. */
  readonly isDown: boolean;
  /** By setting. */
  readonly isOffline: boolean;
  /** What each account used and has left of its pull quota. */
  readonly quotas: readonly Quota[];
  /** What of it is left alone at the moment, because it limits us. */
  readonly pauses: readonly LimitPause[];
}

/**
 * The one door to the product. HTTP, prewarming and sync all come through here; behind it the store
 * and the upstreams meet, and nowhere else.
 *
 *   blob ──▶ Blobs ──▶ store, or the Fill that brings it
 *   manifest, describe ──▶ Manifests ──▶ memory, store, upstream; ──fetched──▶ read-ahead of its blobs
 *   tags, referrers ──▶ Listings
 *   care ──▶ pins, gc, purge, scrub
 *   archives ──▶ import, export
 */
export class Mirror {
  readonly care: CacheCare;
  readonly archives: Archives;
  readonly #upstreams: ReadonlyMap<string, MirroredUpstream>;
  readonly #names: Names;
  readonly #blobs: Blobs;
  readonly #manifests: Manifests;
  readonly #listings: Listings;
  readonly #prewarm: Prewarm;
  readonly #sync: Sync;
  readonly #push: Push;
  readonly #settings: MirrorSettings;

  constructor(options: MirrorOptions) {
    const { store, names, clock, observe, settings } = options;
    this.#upstreams = options.upstreams;
    this.#names = names;
    this.#settings = settings;
    this.#blobs = new Blobs({ store, links: names.links, clock, observe });
    this.#manifests = new Manifests({
      store,
      names,
      clock,
      observe,
      settings,
      onMoved: (repository) => this.care.pins.refresh(repository),
      onFetched: (repository, manifest, from) => {
        this.care.pins.refresh(repository);
        // Of an index nobody knows yet which platform is wanted.
        if (!from.readAhead || manifest.kind !== 'image') return;
        this.#blobs.readAhead(
          repository,
          manifest.blobs.filter((blob) => !isForeign(blob)),
          from,
        );
      },
    });
    this.#listings = new Listings({ names, clock, manifests: this.#manifests });
    this.care = new CacheCare({
      store,
      names,
      clock,
      observe,
      manifests: this.#manifests,
      verifier: options.verifier,
      settings,
      pulls: this,
    });
    this.archives = new Archives({
      store,
      names,
      clock,
      manifests: this.#manifests,
      has: (registry) => this.has(registry),
      pulls: this,
      settings,
    });
    this.#prewarm = new Prewarm({
      store,
      blobs: this.#blobs,
      manifests: this.#manifests,
      upstreamOf: (repository) => this.#upstreamOf(repository),
      tagsOf: (repository, from) => this.#listings.allTags(repository, from),
      earlierOf: async (repository, tag) =>
        (await names.tags.find(repository, tag))?.history.map(({ digest }) => digest) ?? [],
      referrersOf: async (repository, digest, from) =>
        (await this.#listings.referrers(repository, digest, from)).items,
    });
    this.#sync = new Sync({
      manifests: this.#manifests,
      prewarm: this.#prewarm,
      tags: names.tags,
      upstreamOf: ({ registry }) => this.#upstreams.get(registry),
    });
    this.#push = new Push({ store, names, manifests: this.#manifests, prewarm: this.#prewarm });
  }

  /** The upstream of a request that names none. */
  get defaultUpstream(): string {
    return this.#settings.defaultUpstream;
  }

  /** Whether a registry is one of the configured upstreams: the closed list that requests choose from. */
  has(registry: string): boolean {
    return this.#upstreams.has(registry);
  }

  /** What is known of each upstream without asking it, in the order of the configuration. */
  upstreams(): UpstreamState[] {
    return Array.from(this.#upstreams.values(), ({ upstream, isOffline }) => ({
      registry: upstream.registry,
      isDown: upstream.isDown,
      isOffline,
      quotas: upstream.quotas,
      pauses: upstream.pauses,
    }));
  }

  /**
   * A blob, for reading at once, however much of it is here. Close what it answers.
   * @throws MirrorError BLOB_UNKNOWN, DENIED; BLOB_UNAVAILABLE (404) or its cause (503) by setting
   */
  async blob(repository: Repository, digest: Digest): Promise<BlobAnswer> {
    return this.#onlyUnavailable(
      this.#blobs.find(repository, digest, this.#upstreamOf(repository)),
    );
  }

  /** The size of a blob, without a transfer. Throws as `blob` does. */
  async describeBlob(
    repository: Repository,
    digest: Digest,
  ): Promise<{ sizeBytes: number; outcome: Outcome }> {
    return this.#onlyUnavailable(
      this.#blobs.describe(repository, digest, this.#upstreamOf(repository)),
    );
  }

  /** What `manifest` would answer, when it can be said at once; undefined otherwise. */
  findHotManifest(repository: Repository, reference: Reference): ManifestWithBytes | undefined {
    return this.#manifests.findHot(repository, reference, this.#upstreamOf(repository));
  }

  /**
   * A manifest with its exact bytes.
   * @throws MirrorError MANIFEST_UNKNOWN, DENIED, UPSTREAM_UNAVAILABLE, UPSTREAM_LIMITED,
   *   UPSTREAM_INVALID
   */
  async manifest(repository: Repository, reference: Reference): Promise<ManifestWithBytes> {
    return this.#manifests.get(repository, reference, this.#upstreamOf(repository));
  }

  /** A manifest's descriptor; costs upstream a HEAD at most where upstream does HEAD. */
  async describe(repository: Repository, reference: Reference): Promise<ManifestAnswer> {
    return this.#manifests.describe(repository, reference, this.#upstreamOf(repository));
  }

  /** All tags of a repository, sorted; or what upstream gave of them, and why it is not all. */
  async tags(repository: Repository): Promise<ListAnswer<string>> {
    return this.#listings.tags(repository, this.#upstreamOf(repository));
  }

  /** The descriptors of what refers to a digest; empty when nothing does. */
  async referrers(repository: Repository, digest: Digest): Promise<ListAnswer<unknown>> {
    return this.#listings.referrers(repository, digest, this.#upstreamOf(repository));
  }

  /** The repositories of which something is cached, sorted by registry and name. */
  catalog(): AsyncIterable<Repository> {
    return this.#names.links.repositories();
  }

  /** What copies from a primary site. */
  get sync(): Sync {
    return this.#sync;
  }

  get push(): Push {
    return this.#push;
  }

  /** Whether a manifest and the blobs of one of its images are here. */
  isWhole(repository: Repository, digest: Digest): Promise<boolean> {
    return this.#manifests.isWhole(repository, digest);
  }

  /** Fetches images before anybody asks; see `Prewarm`. */
  prewarm(
    rule: PrewarmRule,
    work: Work,
    chosen?: (image: ChosenImage) => Promise<void>,
  ): Promise<Prewarmed> {
    return this.#prewarm.run(rule, work, chosen);
  }

  /** Asks the upstreams that limit pulls how many are left; see `probeQuotas`. */
  probeQuotas(tagOf: (registry: string) => PopularTag | undefined, work: Work): Promise<void> {
    return probeQuotas(this.#upstreams.values(), tagOf, work);
  }

  /** The transfers under way. */
  get fills(): FillProgress[] {
    return this.#blobs.fills;
  }

  /** Stops fills, waits for what is being written; afterwards nothing is half done. */
  async close(): Promise<void> {
    await this.#blobs.close();
    await this.#manifests.written();
    await this.care.pins.settled();
  }

  #upstreamOf({ registry }: Repository): MirroredUpstream {
    const found = this.#upstreams.get(registry);
    if (found !== undefined) return found;
    throw new MirrorError('NAME_UNKNOWN', `${registry} is not an upstream of this mirror`);
  }

  /**
   * A blob that upstream cannot give now is 404 by default: the only answer on which dockerd and
   * containerd both go on at once; 503 costs dockerd 50 s of retries (measured).
   */
  async #onlyUnavailable<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      const isUpstreams = isMirrorError(
        error,
        'UPSTREAM_UNAVAILABLE',
        'UPSTREAM_LIMITED',
        'UPSTREAM_INVALID',
        'CONTENT_CORRUPT',
      );
      if (!isUpstreams || this.#settings.blobUnavailable === 503) throw error;
      throw new MirrorError('BLOB_UNAVAILABLE', error.message, { cause: error });
    }
  }
}

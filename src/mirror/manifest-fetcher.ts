import type { Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { parseManifest, type Manifest } from '../oci/manifest.ts';
import { repositoryKey, type Reference, type Repository } from '../oci/reference.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { FetchedManifest } from '../upstream/upstream.ts';
import { Flights } from './flights.ts';
import { digestOf, type HeldManifest, type ManifestShelf } from './manifest-shelf.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';

/** Told of each manifest that came from upstream because somebody asked for it. */
export type OnFetched = (
  repository: Repository,
  manifest: Manifest,
  from: MirroredUpstream,
) => void;

/** Brings manifests from upstream: verified, linked to their repository, kept. */
export class ManifestFetcher {
  readonly #store: BlobStore;
  readonly #shelf: ManifestShelf;
  readonly #onFetched: OnFetched;
  readonly #flights = new Flights<HeldManifest>();

  constructor(parts: {
    readonly store: BlobStore;
    readonly shelf: ManifestShelf;
    readonly onFetched: OnFetched;
  }) {
    this.#store = parts.store;
    this.#shelf = parts.shelf;
    this.#onFetched = parts.onFetched;
  }

  /**
   * One transfer for all who want it.
   * @param signal with which this one leaves
   */
  byDigest(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
    signal?: AbortSignal,
  ): { result: Promise<HeldManifest>; joined: boolean } {
    const fetch = async (wanted: AbortSignal): Promise<HeldManifest> => {
      // Here under another repository: a free HEAD tells whether this one has it too.
      if (await this.#store.has(digest)) {
        const wait = { signal: wanted, knownMs: from.knownMs };
        const resolved = await from.upstream.resolve(repository.name, { digest }, wait);
        const held =
          resolved.sizeBytes === undefined
            ? undefined
            : await this.#shelf.load(digest, resolved.mediaType);
        if (held !== undefined) {
          await this.#shelf.link(repository, held);
          return held;
        }
      }
      return this.fetch(repository, { digest }, from, wanted);
    };
    return this.#flights.share(`${repositoryKey(repository)}@${digest}`, fetch, signal);
  }

  /** Once more when it is wrong: another URL, or the upstream behind a primary, may have it right. */
  async fetch(
    repository: Repository,
    reference: Reference,
    from: MirroredUpstream,
    signal?: AbortSignal,
  ): Promise<HeldManifest> {
    const wait = { signal, knownMs: from.knownMs };
    for (let times = 1; ; times += 1) {
      const fetched = await from.upstream.fetchManifest(repository.name, reference, wait);
      try {
        return await this.#take(repository, fetched, reference.digest, from);
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_INVALID')) throw error;
        const isThereAnother = fetched.distrust();
        if (times > 1 || !isThereAnother) throw error;
      }
    }
  }

  /** Verifies what upstream sent, remembers what it names, and keeps it. */
  async #take(
    repository: Repository,
    fetched: FetchedManifest,
    asked: Digest | undefined,
    from: MirroredUpstream,
  ): Promise<HeldManifest> {
    const bytes = Buffer.from(fetched.bytes);
    const expected = asked ?? fetched.digest;
    const digest = digestOf(bytes, expected);
    if (expected !== undefined && digest !== expected) {
      throw new MirrorError(
        'UPSTREAM_INVALID',
        `upstream ${repository.registry} sent a manifest with the digest ${digest} where ${expected} was expected; it was thrown away`,
      );
    }
    const manifest = parseManifest(bytes, fetched.contentType);
    const held = {
      descriptor: { digest, mediaType: manifest.mediaType, size: bytes.length },
      bytes,
    };
    await this.#shelf.link(repository, held, manifest);
    this.#shelf.keep(held);
    this.#onFetched(repository, manifest, from);
    return held;
  }
}

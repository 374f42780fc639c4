import type { Clock } from '../../base/clock.ts';
import type { Observe } from '../../base/events.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import { MirrorError } from '../../oci/errors.ts';
import { repositoryKey, type Reference, type Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Link, Names, TagRecord } from '../../store/names.ts';
import type { Verifier } from '../../store/verify/verifier.ts';
import type { BlobAnswer } from '../blobs.ts';
import type { ManifestWithBytes } from '../manifest-answer.ts';
import type { Manifests } from '../manifests.ts';
import { collectGarbage, type CollectParts, type Removed } from './collect.ts';
import { Pins } from './pins.ts';
import { purge, type PurgeSelection } from './purge.ts';
import { scrub } from './scrub.ts';

export type { Pin } from '../../store/pins.ts';

/** As a client gets it, for work that has no client. */
export interface Pulls {
  manifest(repository: Repository, reference: Reference): Promise<ManifestWithBytes>;
  blob(repository: Repository, digest: Link['digest']): Promise<BlobAnswer>;
}

export interface CareParts {
  readonly store: BlobStore;
  readonly names: Names;
  readonly verifier: Verifier;
  readonly manifests: Manifests;
  readonly pulls: Pulls;
  readonly clock: Clock;
  readonly observe: Observe;
  /** The rate at which a scrub reads; 0: as fast as the disk. */
  readonly settings: { readonly scrubRateBytesPerSecond: number };
}

/** What is done to the cache by people and by schedule: pins, gc, purge, scrub. */
export class CacheCare {
  readonly pins: Pins;
  readonly #parts: CareParts;

  constructor(parts: CareParts) {
    this.#parts = parts;
    const { store, names, clock, observe, pulls } = parts;
    this.pins = new Pins({
      store,
      names,
      clock,
      observe,
      manifest: (repository, reference) => pulls.manifest(repository, reference),
      written: () => parts.manifests.written(),
    });
  }

  /** @param untaggedMs manifests without a tag that were not used for so long go */
  collectGarbage(untaggedMs: number, work: Work): Promise<Removed> {
    return collectGarbage(this.#collectParts, { untaggedMs }, work);
  }

  purge(selection: PurgeSelection, work: Work): Promise<Removed> {
    return purge(this.#collectParts, selection, work);
  }

  /**
   * The tag names what it named before; what upstream says now is passed over until it says something new.
   * @throws MirrorError MANIFEST_UNKNOWN when nothing earlier is known
   */
  async rollBack(repository: Repository, tag: string): Promise<TagRecord> {
    const record = await this.#parts.names.tags.rollBack(repository, tag);
    if (record === undefined) {
      throw new MirrorError(
        'MANIFEST_UNKNOWN',
        `nothing is known that ${repositoryKey(repository)}:${tag} named before`,
      );
    }
    this.#parts.manifests.reread(repository, tag);
    this.pins.refresh(repository);
    return record;
  }

  async scrub(work: Work): Promise<void> {
    const { store, names, verifier, clock, settings } = this.#parts;
    const { scrubRateBytesPerSecond } = settings;
    const pace =
      scrubRateBytesPerSecond === 0 ? undefined : new TokenBucket(scrubRateBytesPerSecond, clock);
    const fetch = (repository: Repository, link: Link): Promise<void> =>
      this.#fetch(repository, link);
    await scrub({ store, names, verifier, fetch }, pace, work);
  }

  get #collectParts(): CollectParts {
    const { store, names, manifests, clock, observe } = this.#parts;
    return { store, names, manifests, clock, observe };
  }

  async #fetch(repository: Repository, { digest, kind }: Link): Promise<void> {
    const { pulls } = this.#parts;
    if (kind === 'manifest') {
      await this.#parts.manifests.forget(repository, { digest });
      await pulls.manifest(repository, { digest });
      return;
    }
    const { content } = await pulls.blob(repository, digest);
    const reader = content.read({ start: 0, end: content.sizeBytes });
    try {
      for (let lease = await reader.next(); lease !== undefined; lease = await reader.next()) {
        lease.release();
      }
    } finally {
      reader.close();
      content.close();
    }
  }
}

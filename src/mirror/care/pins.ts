import type { Clock } from '../../base/clock.ts';
import type { Observe } from '../../base/events.ts';
import type { Digest } from '../../oci/digest.ts';
import {
  referenceText,
  repositoryKey,
  type Reference,
  type Repository,
} from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Names } from '../../store/names.ts';
import type { Pin } from '../../store/pins.ts';
import type { ManifestAnswer } from '../manifest-answer.ts';
import { contentOf, manifestsOf } from './image-walk.ts';

/**
 * Keeps images from eviction, gc and purge. A pinned tag is followed: when it moves, what it names now
 * is kept and what it named before is let go; a platform that arrives later is kept from then on.
 */
export class Pins {
  readonly #store: BlobStore;
  readonly #names: Names;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #manifest: (repository: Repository, reference: Reference) => Promise<ManifestAnswer>;
  readonly #written: () => Promise<void>;
  #refreshing: Promise<void> = Promise.resolve();

  constructor(parts: {
    readonly store: BlobStore;
    readonly names: Names;
    readonly clock: Clock;
    readonly observe: Observe;
    /** As a client would get it. */
    readonly manifest: (repository: Repository, reference: Reference) => Promise<ManifestAnswer>;
    /** Ends when every manifest that was answered is stored. */
    readonly written: () => Promise<void>;
  }) {
    this.#written = parts.written;
    this.#store = parts.store;
    this.#names = parts.names;
    this.#clock = parts.clock;
    this.#observe = parts.observe;
    this.#manifest = parts.manifest;
  }

  /**
   * Pins what the reference names; its manifest is fetched when it is not here, its layers are not.
   * @throws MirrorError as `Mirror.manifest`
   */
  async pin(repository: Repository, reference: Reference): Promise<Pin> {
    const { descriptor } = await this.#manifest(repository, reference);
    const text = referenceText(reference);
    return this.#put(repository, text, descriptor.digest, this.#clock.wallMs());
  }

  /** Whether it was pinned. What another pin keeps stays kept. */
  unpin(repository: Repository, reference: Reference): Promise<boolean> {
    return this.#names.pins.remove(repository, referenceText(reference));
  }

  list(): Pin[] {
    return this.#names.pins.list();
  }

  /** Something of that repository is new here: its pins may keep more, or something else. */
  refresh(repository: Repository): void {
    const key = repositoryKey(repository);
    const pins = this.#names.pins.list().filter((pin) => repositoryKey(pin.repository) === key);
    if (pins.length === 0) return;
    const refreshing = this.#refreshing.then(async () => {
      for (const { reference, digest, pinnedMs } of pins) {
        if (this.#names.pins.find(repository, reference) === undefined) continue;
        const record = await this.#names.tags.find(repository, reference);
        await this.#put(repository, reference, record?.digest ?? digest, pinnedMs);
      }
    });
    this.#refreshing = refreshing.catch((error: unknown) => {
      this.#observe({ kind: 'bug', where: 'follow a pinned tag', error });
    });
  }

  /** Resolves when every `refresh` is done. */
  async settled(): Promise<void> {
    await this.#refreshing;
  }

  async #put(
    repository: Repository,
    reference: string,
    digest: Digest,
    pinnedMs: number,
  ): Promise<Pin> {
    await this.#written();
    const content = contentOf(await manifestsOf(this.#store, digest, undefined));
    const keeps = [...content.add(digest)];
    const pin = { repository, reference, digest, keeps, pinnedMs };
    await this.#names.pins.put(pin);
    return pin;
  }
}

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
import { byPerson, type Pin } from '../../store/pins.ts';
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
    return this.#put(repository, text, descriptor.digest, byPerson);
  }

  /**
   * Takes back what `pin` did. What another pin keeps stays kept, and so does what a rule holds.
   * @returns whether it was pinned by a person
   */
  unpin(repository: Repository, reference: Reference): Promise<boolean> {
    return this.#release(repository, referenceText(reference), byPerson);
  }

  /** A rule keeps what that reference names, whose manifest is here. */
  async hold(
    repository: Repository,
    reference: Reference,
    digest: Digest,
    rule: string,
  ): Promise<void> {
    await this.#put(repository, referenceText(reference), digest, rule);
  }

  /** Of what a rule holds only these stay with it. */
  async releaseOthers(
    rule: string,
    selected: readonly { readonly repository: Repository; readonly reference: Reference }[],
  ): Promise<void> {
    const nameOf = (repository: Repository, reference: string): string =>
      `${repositoryKey(repository)} ${reference}`;
    const kept = new Set(
      selected.map(({ repository, reference }) => nameOf(repository, referenceText(reference))),
    );
    for (const { repository, reference, by } of this.#names.pins.list()) {
      if (!by.includes(rule) || kept.has(nameOf(repository, reference))) continue;
      await this.#release(repository, reference, rule);
    }
  }

  /** Lets go of what is held by rules that are no more, or pin nothing any more. */
  async releaseAllBut(rules: ReadonlySet<string>): Promise<void> {
    for (const { repository, reference, by } of this.#names.pins.list()) {
      for (const holder of by) {
        if (holder === byPerson || rules.has(holder)) continue;
        await this.#release(repository, reference, holder);
      }
    }
  }

  /** The rules that hold it. */
  rulesOf(repository: Repository, reference: Reference): string[] {
    const pin = this.#names.pins.find(repository, referenceText(reference));
    return (pin?.by ?? []).filter((holder) => holder !== byPerson);
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
      for (const { reference, digest } of pins) {
        if (this.#names.pins.find(repository, reference) === undefined) continue;
        const record = await this.#names.tags.find(repository, reference);
        await this.#put(repository, reference, record?.digest ?? digest);
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
    holder?: string,
  ): Promise<Pin> {
    await this.#written();
    const content = contentOf(await manifestsOf(this.#store, digest, undefined));
    const keeps = [...content.add(digest)];
    // Others may have come and gone meanwhile.
    const before = this.#names.pins.find(repository, reference);
    const by = new Set(before?.by);
    if (holder !== undefined) by.add(holder);
    const pinnedMs = before?.pinnedMs ?? this.#clock.wallMs();
    const pin = { repository, reference, digest, keeps, by: [...by], pinnedMs };
    // A pin that is only followed may have been let go.
    if (by.size > 0) await this.#names.pins.put(pin);
    return pin;
  }

  /** Whether that holder held it. */
  async #release(repository: Repository, reference: string, holder: string): Promise<boolean> {
    const pin = this.#names.pins.find(repository, reference);
    if (pin === undefined || !pin.by.includes(holder)) return false;
    const by = pin.by.filter((one) => one !== holder);
    if (by.length > 0) await this.#names.pins.put({ ...pin, by });
    else await this.#names.pins.remove(repository, reference);
    return true;
  }
}

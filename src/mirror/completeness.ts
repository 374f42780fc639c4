import { isMirrorError, MirrorError } from '../oci/errors.ts';
import type { Repository } from '../oci/reference.ts';
import { failureOf } from './freshness.ts';
import type { HeldManifest, ManifestShelf } from './manifest-shelf.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';

/**
 * Whether a manifest is given out while upstream is away and its blobs are not all here. podman and
 * CRI-O never look elsewhere once they have the manifest, so such a one is refused at once, and every
 * client goes on to its next source.
 */
export class Completeness {
  readonly #shelf: ManifestShelf;
  readonly #settings: { readonly staleIncomplete: 'refuse' | 'serve' };

  constructor(shelf: ManifestShelf, settings: { readonly staleIncomplete: 'refuse' | 'serve' }) {
    this.#shelf = shelf;
    this.#settings = settings;
  }

  /** Whether manifests must be looked at before they are given out, which takes a look at the disk. */
  isAskedOf({ upstream }: MirroredUpstream): boolean {
    return this.#settings.staleIncomplete === 'refuse' && upstream.isDown;
  }

  /**
   * An upstream that is only thought to be down is asked first.
   * @param warning why upstream did not answer, when it was asked
   * @throws MirrorError UPSTREAM_UNAVAILABLE
   */
  async refuseIncomplete(
    repository: Repository,
    held: HeldManifest,
    warning: string | undefined,
    from: MirroredUpstream,
  ): Promise<void> {
    if (
      this.#settings.staleIncomplete === 'serve' ||
      (warning === undefined && !from.upstream.isDown)
    )
      return;
    if (await this.#shelf.isComplete(held)) return;
    const { digest } = held.descriptor;
    const why = warning ?? (await whyDown(repository, held, from));
    if (why === undefined) return;
    throw new MirrorError(
      'UPSTREAM_UNAVAILABLE',
      `not everything that ${digest} needs is cached, and ${why}`,
    );
  }
}

/** Undefined when upstream is back; one that says no is. */
async function whyDown(
  { name }: Repository,
  { descriptor: { digest } }: HeldManifest,
  { upstream, revalidateTimeoutMs: headersTimeoutMs }: MirroredUpstream,
): Promise<string | undefined> {
  try {
    await upstream.resolve(name, { digest }, { headersTimeoutMs });
    return undefined;
  } catch (error) {
    if (!isMirrorError(error)) throw error;
    return failureOf(error) === 'failed' ? error.message : undefined;
  }
}

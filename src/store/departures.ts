import type { Digest } from '../oci/digest.ts';
import { isMissing, type Disk } from './disk.ts';
import { pathOfBlob } from './folder/layout.ts';
import type { OpenBlobs } from './open-blobs.ts';
import type { Residents } from './residents.ts';
import type { UnlinkResult } from './unlinking.ts';
import type { Verifier } from './verify/verifier.ts';

/** Blobs on their way off the disk, and out of all that knows of them. */
export class Departures {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #open: OpenBlobs;
  readonly #residents: Residents;
  readonly #verifier: Verifier;
  readonly #unlinking = new Map<Digest, Promise<unknown>>();

  constructor(parts: {
    readonly folder: string;
    readonly disk: Disk;
    readonly open: OpenBlobs;
    readonly residents: Residents;
    readonly verifier: Verifier;
  }) {
    this.#folder = parts.folder;
    this.#disk = parts.disk;
    this.#open = parts.open;
    this.#residents = parts.residents;
    this.#verifier = parts.verifier;
  }

  /** Ends when no file of that digest is on its way, be it off the disk or to the quarantine. */
  async settled(digest: Digest): Promise<void> {
    await this.#verifier.settled(digest);
    await this.#unlinking.get(digest);
  }

  /** Answers why one is there still. */
  async unlinkAll(digests: readonly Digest[]): Promise<UnlinkResult[]> {
    await Promise.all(digests.map((digest) => this.#verifier.settled(digest)));
    for (const digest of digests) this.forget(digest);
    const paths = digests.map((digest) => pathOfBlob(this.#folder, digest));
    const unlinking = this.#disk.unlinkAll(paths);
    for (const digest of digests) this.#unlinking.set(digest, unlinking);
    const results = await unlinking;
    return digests.map((digest, at) => {
      if (this.#unlinking.get(digest) === unlinking) this.#unlinking.delete(digest);
      const error = results[at];
      if (error !== undefined && !isMissing(error)) return error;
      // Somebody may have opened it in between.
      this.forget(digest);
      return undefined;
    });
  }

  /** Its file is not what is stored any more; those who have it open go on. */
  forget(digest: Digest): void {
    this.#open.forget(digest);
    this.#residents.forget(digest);
  }
}

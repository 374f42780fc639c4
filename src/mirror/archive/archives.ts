import type { Work } from '../../base/work.ts';
import { canonicalRegistry } from '../../oci/reference.ts';
import type { Pulls } from '../care/cache-care.ts';
import { exportImages, type Archive, type ExportOptions, type NamedImage } from './export.ts';
import { importArchive, type Imported, type ImportParts } from './import.ts';

type ArchiveParts = ImportParts & {
  readonly pulls: Pulls;
  readonly settings: { readonly defaultUpstream: string };
};

/** Images in and out by archive: for sites without a network, and for caches of other programs. */
export class Archives {
  readonly #parts: ArchiveParts;

  constructor(parts: ArchiveParts) {
    this.#parts = parts;
  }

  /** See `importArchive`. @param options upstream: the default one unless told */
  import(
    tar: AsyncIterable<Uint8Array>,
    options: { readonly upstream?: string | undefined; readonly name?: string | undefined },
    work: Work,
  ): Promise<Imported> {
    const upstream = canonicalRegistry(options.upstream ?? this.#parts.settings.defaultUpstream);
    return importArchive(this.#parts, tar, { upstream, name: options.name }, work);
  }

  /** See `exportImages`. */
  export(images: readonly NamedImage[], options: ExportOptions): Promise<Archive> {
    return exportImages(this.#parts, images, options);
  }
}

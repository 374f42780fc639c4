import { untilAborted } from '../../base/until-aborted.ts';
import type { Work } from '../../base/work.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { algorithmOf, encodedOf, findDigest, type Digest } from '../../oci/digest.ts';
import { isMirrorError } from '../../oci/errors.ts';
import { isForeign, parseManifest } from '../../oci/manifest.ts';
import type { Reference, Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { ManifestWithBytes } from '../manifest-answer.ts';
import type { Manifests } from '../manifests.ts';
import type { MirroredUpstream } from '../mirrored-upstream.ts';
import { readAll } from '../read-all.ts';
import { choosePlatforms } from './platforms.ts';

/** What an image is made of, as far as a rule wants it. */
export interface ImageContent {
  /** The manifest that the reference names, and those below it and about it that are wanted. */
  readonly manifests: readonly Digest[];
  readonly blobs: readonly Descriptor[];
  /** Why it may be old: upstream did not confirm it. */
  readonly warning: string | undefined;
}

export interface ImageContentParts {
  readonly manifests: Manifests;
  readonly store: BlobStore;
  /** What a tag named before, the newest first. */
  readonly earlierOf: (repository: Repository, tag: string) => Promise<readonly Digest[]>;
  readonly referrersOf: (
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ) => Promise<readonly unknown[]>;
}

/** Which parts of an image a rule wants. */
export interface Wanted {
  /** `os/architecture[/variant]`; none: those that are here of this or older versions, else linux/amd64. */
  readonly platforms: readonly string[] | 'all';
  /** Of an index, these in place of what the platforms choose. */
  readonly only?: readonly Digest[] | undefined;
  /** Attestations, and what refers to the images: signatures, bills of materials. */
  readonly referrers?: boolean | undefined;
}

/** Versions of an index that are looked at for the platforms that clients pull. */
const earlierMax = 3;

/** Where cosign keeps what it has to say of an image, in registries without referrers. */
const cosignSuffixes = ['sig', 'att', 'sbom'];

/**
 * Fetches the manifests of an image, and says which blobs they name.
 * @throws MirrorError as `Mirror.manifest`; Error when it has nothing for the wanted platforms
 */
export async function fetchContent(
  parts: ImageContentParts,
  image: { readonly repository: Repository; readonly reference: Reference },
  from: MirroredUpstream,
  wanted: Wanted,
  work: Work,
): Promise<ImageContent> {
  const { repository, reference } = image;
  const get = (of: Reference): Promise<ManifestWithBytes> =>
    untilAborted(parts.manifests.get(repository, of, from), work.signal);
  const top = await get(reference);
  const found = new Map([[top.descriptor.digest, top]]);
  const { kind } = parseManifest(top.bytes, top.descriptor.mediaType);
  if (kind === 'index') {
    const earlier = await earlierIndexes(parts, repository, reference);
    const children = await childrenOf(parts, top.bytes, wanted, earlier);
    if (children.length === 0) throw new Error(`it has no image for ${platformsText(wanted)}`);
    for (const digest of children) found.set(digest, await get({ digest }));
  }
  if (wanted.referrers === true) {
    const images = [...found.keys()];
    for (const digest of images) {
      const referrers = parts.referrersOf(repository, digest, from);
      for (const entry of await untilAborted(referrers, work.signal)) {
        const referrer = digestOf(entry);
        if (referrer !== undefined) found.set(referrer, await get({ digest: referrer }));
      }
      for (const suffix of cosignSuffixes) {
        const tag = `${algorithmOf(digest)}-${encodedOf(digest)}.${suffix}`;
        const one = await unlessUnknown(get({ tag }));
        if (one !== undefined) found.set(one.descriptor.digest, one);
      }
    }
  }
  const blobs = new Map<Digest, Descriptor>();
  for (const { bytes, descriptor } of found.values()) {
    for (const blob of parseManifest(bytes, descriptor.mediaType).blobs) {
      if (!isForeign(blob)) blobs.set(blob.digest, blob);
    }
  }
  return { manifests: [...found.keys()], blobs: [...blobs.values()], warning: top.warning };
}

/** Whether what `fetchContent` finds is here, and its blobs; asks nobody, and does not count as a use. */
export async function isContentHere(
  parts: Pick<ImageContentParts, 'manifests' | 'store'>,
  repository: Repository,
  digest: Digest,
  wanted: Wanted,
): Promise<boolean> {
  const { manifests, store } = parts;
  const top = await manifests.peek(repository, digest);
  if (top === undefined) return false;
  const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
  const images = parsed.kind === 'index' ? [] : [parsed];
  for (const child of parsed.kind === 'index'
    ? await childrenOf(parts, top.bytes, wanted, [])
    : []) {
    const held = await manifests.peek(repository, child);
    if (held === undefined) return false;
    images.push(parseManifest(held.bytes, held.descriptor.mediaType));
  }
  for (const blob of images.flatMap(({ blobs }) => blobs)) {
    if (!isForeign(blob) && !(await store.has(blob.digest))) return false;
  }
  return images.length > 0;
}

async function childrenOf(
  { store }: Pick<ImageContentParts, 'store'>,
  index: Uint8Array,
  { only, platforms, referrers }: Wanted,
  earlier: readonly Uint8Array[],
): Promise<readonly Digest[]> {
  if (only !== undefined) return only;
  const has = (digest: Digest): Promise<boolean> => store.has(digest);
  return choosePlatforms(index, { platforms, attestations: referrers === true, has, earlier });
}

function platformsText({ platforms }: Wanted): string {
  return platforms === 'all' ? 'any platform' : platforms.join(', ') || 'linux/amd64';
}

/** A tag that is new here has none. */
async function earlierIndexes(
  { earlierOf, store }: ImageContentParts,
  repository: Repository,
  { tag }: Reference,
): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  for (const digest of tag === undefined ? [] : await earlierOf(repository, tag)) {
    const bytes = await readAll(store, digest, false);
    if (bytes !== undefined) found.push(bytes);
    if (found.length === earlierMax) break;
  }
  return found;
}

async function unlessUnknown<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isMirrorError(error, 'MANIFEST_UNKNOWN')) return undefined;
    throw error;
  }
}

function digestOf(entry: unknown): Digest | undefined {
  const { digest } = (entry ?? {}) as { digest?: unknown };
  return typeof digest === 'string' ? findDigest(digest) : undefined;
}

import { findDigest, type Digest } from '../oci/digest.ts';
import { isForeign, parseManifest, type Manifest } from '../oci/manifest.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { Names, TagRecord } from '../store/names.ts';
import { readAll } from './read-all.ts';

/** A part of a list: at most `limit` entries after the one named `after`. */
export interface ListPart {
  readonly limit: number;
  readonly after?: string | undefined;
}

export interface ListOf<T> {
  readonly items: readonly T[];
  /** Names the last entry; undefined at the end of the list. */
  readonly next: string | undefined;
}

/** How long something will be here, as far as anybody can say. */
export interface Stay {
  /** By the wall clock; undefined while nobody knows. */
  readonly usedMs: number | undefined;
  readonly isPinned: boolean;
}

export interface CachedTag {
  readonly tag: string;
  readonly record: TagRecord;
  readonly stay: Stay;
}

export interface CachedBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly stay: Stay;
}

export interface CachedPart {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly isCached: boolean;
  readonly stay: Stay;
  readonly platform: Platform | undefined;
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
}

/** A manifest that is cached, and what it names directly. */
export interface CachedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly kind: Manifest['kind'];
  readonly sizeBytes: number;
  readonly stay: Stay;
  /** Config and layers, or what an artifact holds. */
  readonly blobs: readonly CachedPart[];
  /** The images of an index. */
  readonly manifests: readonly CachedPart[];
}

/** What is cached, for people who look: nothing here asks an upstream or counts as a use. */
export class Inventory {
  readonly #store: BlobStore;
  readonly #names: Names;

  constructor(parts: { readonly store: BlobStore; readonly names: Names }) {
    this.#store = parts.store;
    this.#names = parts.names;
  }

  /** Sorted by name. @param search a part of the name */
  async repositories(
    part: ListPart & { readonly search?: string | undefined },
  ): Promise<ListOf<{ readonly repository: Repository; readonly tags: number }>> {
    const wanted = part.search?.toLowerCase();
    const found = await collect(this.#names.links.repositories(), part, repositoryKey, (item) =>
      wanted === undefined ? true : repositoryKey(item).toLowerCase().includes(wanted),
    );
    const items = [];
    for (const repository of found.items) {
      let tags = 0;
      for await (const _ of this.#names.tags.walk(repository)) tags += 1;
      items.push({ repository, tags });
    }
    return { items, next: found.next };
  }

  /** Sorted by tag; empty for a repository of which nothing is known. */
  async tags(repository: Repository, part: ListPart): Promise<ListOf<CachedTag>> {
    const { items, next } = await collect(
      this.#names.tags.walk(repository),
      part,
      ({ tag }) => tag,
    );
    const withStay = items.map(({ tag, record }) => ({
      tag,
      record,
      stay: this.#stayOf(record.digest),
    }));
    return { items: withStay, next };
  }

  /** What is stored of an image, or of the images of an index: each manifest, config and layer once. */
  async storedBytes(digest: Digest): Promise<number> {
    const sizes = new Map<Digest, number>();
    // By what is known in memory: opening each layer to look would close the files that clients read.
    const isStored = (one: Digest): boolean => this.#store.usedMs(one) !== undefined;
    const add = async (one: Digest): Promise<void> => {
      const found = isStored(one) && !sizes.has(one) ? await this.#read(one) : undefined;
      if (found === undefined) return;
      sizes.set(one, found.bytes.length);
      for (const blob of found.manifest.blobs) {
        if (isStored(blob.digest)) sizes.set(blob.digest, blob.size);
      }
      for (const image of found.manifest.manifests) await add(image.digest);
    };
    await add(digest);
    return [...sizes.values()].reduce((sum, sizeBytes) => sum + sizeBytes, 0);
  }

  /** Undefined when it is not cached, or is no manifest. */
  async manifest(digest: Digest): Promise<CachedManifest | undefined> {
    const found = await this.#read(digest);
    if (found === undefined) return undefined;
    const { bytes, manifest } = found;
    const platforms = platformsOf(bytes);
    const part = async (one: Manifest['blobs'][number]): Promise<CachedPart> => ({
      digest: one.digest,
      mediaType: one.mediaType,
      sizeBytes: one.size,
      isCached: isForeign(one) || (await this.#store.has(one.digest)),
      platform: platforms.get(one.digest),
      stay: this.#stayOf(one.digest),
    });
    return {
      digest,
      mediaType: manifest.mediaType,
      kind: manifest.kind,
      sizeBytes: bytes.length,
      stay: this.#stayOf(digest),
      blobs: await Promise.all(manifest.blobs.map(part)),
      manifests: await Promise.all(manifest.manifests.map(part)),
    };
  }

  /** Sorted by digest. */
  async blobs(part: ListPart): Promise<ListOf<CachedBlob>> {
    const after = part.after ?? '';
    // The least of those that follow, kept in order: a list of a million is not sorted for a page.
    const kept: { digest: Digest; sizeBytes: number }[] = [];
    for await (const { digest, size } of this.#store.walk()) {
      if (digest <= after) continue;
      const last = kept.at(-1);
      if (kept.length > part.limit && last !== undefined && digest >= last.digest) continue;
      const at = kept.findIndex((one) => one.digest > digest);
      kept.splice(at === -1 ? kept.length : at, 0, { digest, sizeBytes: size });
      if (kept.length > part.limit + 1) kept.pop();
    }
    const items = kept
      .slice(0, part.limit)
      .map(({ digest, sizeBytes }) => ({ digest, sizeBytes, stay: this.#stayOf(digest) }));
    return { items, next: kept.length > part.limit ? items.at(-1)?.digest : undefined };
  }

  async #read(digest: Digest): Promise<{ bytes: Buffer; manifest: Manifest } | undefined> {
    const bytes = await readAll(this.#store, digest, false).catch(() => undefined);
    if (bytes === undefined) return undefined;
    try {
      return { bytes, manifest: parseManifest(bytes, undefined) };
    } catch {
      return undefined;
    }
  }

  #stayOf(digest: Digest): Stay {
    return { usedMs: this.#store.usedMs(digest), isPinned: this.#names.pins.isPinned(digest) };
  }
}

/** A part of something that comes in the order of its names. */
async function collect<T>(
  all: AsyncIterable<T>,
  { limit, after }: ListPart,
  nameOf: (item: T) => string,
  isWanted: (item: T) => boolean = () => true,
): Promise<ListOf<T>> {
  const items: T[] = [];
  for await (const item of all) {
    if (after !== undefined && nameOf(item) <= after) continue;
    if (!isWanted(item)) continue;
    if (items.length === limit) return { items, next: nameOf(items.at(-1)!) };
    items.push(item);
  }
  return { items, next: undefined };
}

/** The platforms that an index states; what is stated in another form is left out. */
function platformsOf(bytes: Uint8Array): Map<Digest, Platform> {
  const platforms = new Map<Digest, Platform>();
  const { manifests } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { manifests?: unknown };
  for (const entry of Array.isArray(manifests) ? (manifests as unknown[]) : []) {
    const { digest, platform } = (entry ?? {}) as { digest?: unknown; platform?: unknown };
    const found = typeof digest === 'string' ? findDigest(digest) : undefined;
    const { os, architecture, variant } = (platform ?? {}) as Record<string, unknown>;
    if (found === undefined || typeof os !== 'string' || typeof architecture !== 'string') continue;
    const isNamed = typeof variant === 'string' && variant !== '';
    platforms.set(found, { os, architecture, variant: isNamed ? variant : undefined });
  }
  return platforms;
}

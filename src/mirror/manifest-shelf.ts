import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Observe } from '../base/events.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, type Digest } from '../oci/digest.ts';
import { isMirrorError } from '../oci/errors.ts';
import { isForeign, parseManifest, type Manifest } from '../oci/manifest.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { Link, LinkStore } from '../store/names.ts';
import { readAll } from './read-all.ts';

/** Manifests kept in memory; a manifest has 1–10 kB, so these are the several thousand hottest. */
const heldBytesMax = 64 * 1024 * 1024;

export interface HeldManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

/**
 * The manifests that are here: the hot ones in memory, all of them as blobs in the store. What is
 * given out under a repository is linked to it.
 */
export class ManifestShelf {
  readonly #store: BlobStore;
  readonly #links: LinkStore;
  readonly #observe: Observe;
  /** By repository and digest: what is in here may be given out under that repository. */
  readonly #held = new LRUCache<string, HeldManifest>({
    maxSize: heldBytesMax,
    sizeCalculation: ({ bytes }, key) => bytes.length + key.length + 200,
  });
  readonly #keeping = new Set<Promise<void>>();

  constructor(parts: {
    readonly store: BlobStore;
    readonly links: LinkStore;
    readonly observe: Observe;
  }) {
    this.#store = parts.store;
    this.#links = parts.links;
    this.#observe = parts.observe;
  }

  /** What is in memory for that repository. */
  findHot(repository: Repository, digest: Digest): HeldManifest | undefined {
    const held = this.#held.get(`${repositoryKey(repository)}@${digest}`);
    // The file goes by its use, and is not read for this one.
    if (held !== undefined) this.#store.touch(digest);
    return held;
  }

  /** Held here and linked to this repository. */
  async find(repository: Repository, digest: Digest): Promise<HeldManifest | undefined> {
    const key = `${repositoryKey(repository)}@${digest}`;
    const hot = this.findHot(repository, digest);
    if (hot !== undefined) return hot;
    const link = await this.#links.find(repository, digest);
    if (link === undefined) return undefined;
    const held = await this.load(digest, link.mediaType);
    if (held !== undefined) this.#held.set(key, held);
    return held;
  }

  /** As `find`, for who only looks: it goes no later for that, and nothing is kept in memory. */
  async peek(repository: Repository, digest: Digest): Promise<HeldManifest | undefined> {
    const hot = this.#held.peek(`${repositoryKey(repository)}@${digest}`);
    if (hot !== undefined) return hot;
    const link = await this.#links.find(repository, digest);
    return link === undefined ? undefined : this.load(digest, link.mediaType, false);
  }

  /** From memory: the next one who asks finds out what is still here. */
  forget(repository: Repository, digest: Digest): void {
    this.#held.delete(`${repositoryKey(repository)}@${digest}`);
  }

  /** What the store has, whoever may see it. @param contentType what a link or an index calls it */
  async load(
    digest: Digest,
    contentType: string | undefined,
    isUse: boolean = true,
  ): Promise<HeldManifest | undefined> {
    const bytes = await readAll(this.#store, digest, isUse);
    if (bytes === undefined) return undefined;
    if (digestOf(bytes, digest) !== digest) {
      await this.#store.remove(digest);
      return undefined;
    }
    const mediaType = findMediaType(bytes, contentType);
    return mediaType === undefined
      ? undefined
      : { descriptor: { digest, mediaType, size: bytes.length }, bytes };
  }

  /** Links a manifest, and all that it names, to a repository. */
  async link(
    repository: Repository,
    held: HeldManifest,
    manifest: Manifest = parseManifest(held.bytes, held.descriptor.mediaType),
  ): Promise<void> {
    this.#held.set(`${repositoryKey(repository)}@${held.descriptor.digest}`, held);
    await this.#links.add(repository, [
      linkOf(held.descriptor, 'manifest'),
      ...manifest.blobs.map((blob) => linkOf(blob, 'blob')),
      ...manifest.manifests.map((child) => linkOf(child, 'manifest')),
    ]);
  }

  /** In the background: a client does not wait for a sync of what is right already. */
  keep({ descriptor, bytes }: HeldManifest): void {
    const keeping = (async () => {
      if (await this.#store.has(descriptor.digest)) return;
      const ingest = await this.#store.ingest(descriptor.digest, bytes.length);
      const writer = ingest.writer(0);
      await writer.append(bytes);
      await writer.end();
      await ingest.complete();
      await ingest.committed;
    })().catch((error: unknown) => {
      // The store has said what is wrong with the disk; the answer does not depend on it.
      if (!isMirrorError(error)) this.#observe({ kind: 'bug', where: 'keep manifest', error });
    });
    this.#keeping.add(keeping);
    void keeping.then(() => this.#keeping.delete(keeping));
  }

  /** An image with all its blobs, or an index with one such image. */
  async isComplete({ bytes, descriptor }: HeldManifest, depth: number = 0): Promise<boolean> {
    const manifest = parseManifest(bytes, descriptor.mediaType);
    if (manifest.kind !== 'index') {
      for (const blob of manifest.blobs) {
        if (!isForeign(blob) && !(await this.#store.has(blob.digest))) return false;
      }
      return true;
    }
    if (manifest.manifests.length === 0) return true;
    // An index in an index is legal; one deeper than two is nobody's image.
    if (depth > 2) return false;
    for (const child of manifest.manifests) {
      const held = await this.load(child.digest, child.mediaType, false);
      if (held !== undefined && (await this.isComplete(held, depth + 1))) return true;
    }
    return false;
  }

  /** Resolves when everything that was answered is also on the disk. */
  async written(): Promise<void> {
    await Promise.all(this.#keeping);
  }
}

export function linkOf(descriptor: Descriptor, kind: Link['kind']): Link {
  const { digest, mediaType, size } = descriptor;
  return { digest, mediaType, sizeBytes: size, kind };
}

/** Undefined: it is no manifest, but a config or a layer that somebody takes for one. */
function findMediaType(bytes: Buffer, contentType: string | undefined): string | undefined {
  try {
    return parseManifest(bytes, contentType).mediaType;
  } catch (error) {
    if (isMirrorError(error, 'UPSTREAM_INVALID')) return undefined;
    throw error;
  }
}

/** The digest of some bytes, by the algorithm of another digest; sha256 without one. */
export function digestOf(bytes: Uint8Array, like: Digest | undefined): Digest {
  const algorithm = like === undefined ? 'sha256' : algorithmOf(like);
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

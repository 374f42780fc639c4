import type { Clock } from '../../base/clock.ts';
import { readTar, type TarEntry } from '../../base/tar/tar-reader.ts';
import type { Work } from '../../base/work.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { findDigest, type Digest } from '../../oci/digest.ts';
import { isMirrorError } from '../../oci/errors.ts';
import { isForeign } from '../../oci/manifest.ts';
import { repositoryKey, repositoryOf } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Names } from '../../store/names.ts';
import { contentOf, manifestsOf } from '../care/image-walk.ts';
import { linkOf } from '../manifest-shelf.ts';
import type { Manifests } from '../manifests.ts';
import { kindOf } from './archive-paths.ts';
import { namedIn, type NamedManifest } from './archive-names.ts';

/** An `index.json` or `manifest.json`; the largest real ones have some hundred kilobytes. */
const documentBytesMax = 16 * 1024 * 1024;

export interface ImportParts {
  readonly store: BlobStore;
  readonly names: Names;
  readonly manifests: Pick<Manifests, 'reread'>;
  readonly clock: Clock;
  /** Whether that registry is one of the configured upstreams. */
  readonly has: (registry: string) => boolean;
}

export interface ImportOptions {
  /** The registry that a `docker/registry/v2` folder was a cache of. */
  readonly upstream: string;
  /** For images whose archive says a tag only, or no name at all: `registry/name[:tag]`. */
  readonly name: string | undefined;
}

export interface Imported {
  readonly images: readonly { readonly reference: string; readonly digest: Digest }[];
  /** New here, and here before. */
  readonly blobs: number;
  readonly present: number;
  readonly bytes: number;
  readonly skipped: readonly { readonly object: string; readonly reason: string }[];
}

/** What the archive says beside content; content may come before it or after it. */
interface Contents {
  readonly documents: Map<string, string>;
  /** Of a registry's folder, by repository name. */
  readonly repositories: Map<string, { manifests: Set<Digest>; tags: Map<string, Digest> }>;
  readonly sizes: Map<Digest, number>;
}

/**
 * Takes in a tar of an OCI image layout, of `docker save`, or of the folder of docker-registry. Every
 * blob is verified by its digest; what is wrong is passed over and reported. Tags are known from then
 * on, but not fresh: upstream is asked when it can be.
 * @throws TarError when it is no archive; MirrorError DISK_FAILED when the disk does not take it
 */
export async function importArchive(
  parts: ImportParts,
  tar: AsyncIterable<Uint8Array>,
  options: ImportOptions,
  work: Work,
): Promise<Imported> {
  const archive: Contents = { documents: new Map(), repositories: new Map(), sizes: new Map() };
  const skipped: { object: string; reason: string }[] = [];
  const skip = (object: string, reason: string): void => {
    skipped.push({ object, reason });
    work.log(`passed over ${object}: ${reason}`);
  };
  const counts = { blobs: 0, present: 0, bytes: 0 };
  for await (const entry of readTar(tar)) {
    work.signal.throwIfAborted();
    const outcome = await take(parts.store, archive, entry);
    if (typeof outcome === 'object') skip(entry.name, outcome.reason);
    if (outcome === 'present') counts.present += 1;
    if (outcome !== 'stored') continue;
    counts.blobs += 1;
    counts.bytes += entry.sizeBytes;
    work.advance({ blobsDone: 1, bytesDone: entry.sizeBytes });
  }
  const images: { reference: string; digest: Digest }[] = [];
  for (const named of await namedOf(parts.store, archive, options, skip)) {
    const problem = await register(parts, named);
    if (problem !== undefined) skip(nameOf(named), problem);
    if (problem === undefined || problem.startsWith('of its content')) {
      images.push({ reference: nameOf(named), digest: named.digest });
    }
  }
  return { images, ...counts, skipped };
}

/** Stores a blob, or keeps a document or a name in memory. */
async function take(
  store: BlobStore,
  archive: Contents,
  entry: TarEntry,
): Promise<'stored' | 'present' | 'other' | { readonly reason: string }> {
  if (entry.type !== 'file') return 'other';
  const found = kindOf(entry.name);
  if (found === undefined) return 'other';
  switch (found.kind) {
    case 'blob':
      archive.sizes.set(found.digest, entry.sizeBytes);
      return storeBlob(store, found.digest, entry);
    case 'unverifiable':
      return {
        reason: 'its name is no digest, so it cannot be verified; save it with Docker 25 or newer',
      };
    case 'document':
      if (entry.sizeBytes > documentBytesMax) return { reason: 'it is too large' };
      archive.documents.set(found.name, await textOf(entry));
      return 'other';
    case 'manifest':
      repositoryIn(archive, found.repository).manifests.add(found.digest);
      return 'other';
    case 'tag': {
      if (entry.sizeBytes > 256) return { reason: 'it is no link' };
      const digest = findDigest((await textOf(entry)).trim());
      if (digest === undefined) return { reason: 'it names no digest' };
      repositoryIn(archive, found.repository).tags.set(found.tag, digest);
      return 'other';
    }
  }
}

async function storeBlob(
  store: BlobStore,
  digest: Digest,
  entry: TarEntry,
): Promise<'stored' | 'present' | { readonly reason: string }> {
  if (await store.has(digest)) return 'present';
  const ingest = await store.ingest(digest, entry.sizeBytes);
  try {
    const writer = ingest.writer(0);
    for await (const chunk of entry.content) await writer.append(chunk);
    await writer.end();
  } catch (error) {
    await ingest.fail(error);
    throw error;
  }
  try {
    await ingest.complete();
    await ingest.committed;
    return 'stored';
  } catch (error) {
    if (!isMirrorError(error, 'CONTENT_CORRUPT')) throw error;
    const reason =
      entry.sizeBytes === 0 ? 'it is empty' : 'its content is damaged: it has another digest';
    return { reason };
  }
}

async function namedOf(
  store: BlobStore,
  archive: Contents,
  options: ImportOptions,
  skip: (object: string, reason: string) => void,
): Promise<NamedManifest[]> {
  const named = await namedIn(store, archive, options.name, skip);
  for (const [name, { manifests, tags }] of archive.repositories) {
    const repository = repositoryOf(options.upstream, name);
    const tagged = new Set(tags.values());
    for (const [tag, digest] of tags) named.push({ repository, tag, digest });
    for (const digest of manifests) {
      if (!tagged.has(digest)) named.push({ repository, tag: undefined, digest });
    }
  }
  return named;
}

/** Links a manifest and what it names to the repository. @returns what is wrong with it */
async function register(
  { store, names, manifests, clock, has }: ImportParts,
  { repository, tag, digest, mediaType }: NamedManifest,
): Promise<string | undefined> {
  if (!has(repository.registry)) {
    return `${repository.registry} is no upstream of this mirror; add it to upstreams, or give another name`;
  }
  const found = await manifestsOf(store, digest, mediaType);
  const [top] = found;
  if (top === undefined) return 'its manifest is not in the archive, or is damaged';
  for (const one of found) {
    const descriptor: Descriptor = { ...one, size: one.bytes.length };
    await names.links.add(repository, [
      linkOf(descriptor, 'manifest'),
      ...one.manifest.blobs.filter((blob) => !isForeign(blob)).map((blob) => linkOf(blob, 'blob')),
      ...one.manifest.manifests.map((child) => linkOf(child, 'manifest')),
    ]);
  }
  if (tag !== undefined) {
    const descriptor = { digest, mediaType: top.mediaType, size: top.bytes.length };
    await names.tags.seen(repository, tag, descriptor, clock.wallMs());
    manifests.reread(repository, tag);
  }
  const indexed = new Set(
    found.flatMap(({ manifest }) => manifest.manifests.map((one) => one.digest)),
  );
  let missing = 0;
  for (const one of contentOf(found)) {
    // An index usually names platforms that nobody wants.
    if (!indexed.has(one) && !(await store.has(one))) missing += 1;
  }
  return missing === 0
    ? undefined
    : `of its content ${missing} blobs are not in the archive; upstream is asked for them when they are wanted`;
}

function repositoryIn(
  archive: Contents,
  name: string,
): { manifests: Set<Digest>; tags: Map<string, Digest> } {
  const found = archive.repositories.get(name) ?? { manifests: new Set(), tags: new Map() };
  archive.repositories.set(name, found);
  return found;
}

async function textOf(entry: TarEntry): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of entry.content) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

function nameOf({ repository, tag, digest }: NamedManifest): string {
  return `${repositoryKey(repository)}${tag === undefined ? `@${digest}` : `:${tag}`}`;
}

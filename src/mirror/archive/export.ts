import { createHash } from 'node:crypto';
import { tarBytesOf, tarEnd, tarHeader, tarPadding } from '../../base/tar/tar-writer.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { algorithmOf, encodedOf, type Digest } from '../../oci/digest.ts';
import { MirrorError } from '../../oci/errors.ts';
import { isForeign, mediaTypes, parseManifest } from '../../oci/manifest.ts';
import {
  referenceText,
  repositoryKey,
  type Reference,
  type Repository,
} from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import { findManifest, type StoredManifest } from '../care/image-walk.ts';
import type { Pulls } from '../care/cache-care.ts';
import { choosePlatforms } from '../prewarm/platforms.ts';

export interface NamedImage {
  readonly repository: Repository;
  readonly reference: Reference;
}

export interface ExportOptions {
  /** `docker` adds the `manifest.json` that `docker load` of the classic image store needs. */
  readonly format: 'oci' | 'docker';
  /** `os/architecture[/variant]`; none: those of an index that are here, else linux/amd64. */
  readonly platforms: readonly string[];
}

/** An archive whose size is known before its first byte. */
export interface Archive {
  readonly sizeBytes: number;
  /** Each chunk is the reader's own until the next is asked for. */
  bytes(): AsyncGenerator<Uint8Array, void>;
}

interface File {
  readonly name: string;
  readonly sizeBytes: number;
  bytes(): AsyncIterable<Uint8Array>;
}

const encoder = new TextEncoder();

/**
 * Images as one OCI image layout in a tar, what they share once. Manifests are byte for byte what the
 * registry gave, so pulls by digest work where it is imported; an index may name platforms that are
 * not in it. What is not here is fetched, as a pull would.
 * @throws MirrorError as pulls do; MANIFEST_UNKNOWN when an index has no such platform
 */
export async function exportImages(
  { store, pulls }: { store: BlobStore; pulls: Pulls },
  images: readonly NamedImage[],
  options: ExportOptions,
): Promise<Archive> {
  const files = new Map<string, File>();
  const add = (file: File): void => void files.set(file.name, file);
  const index: unknown[] = [];
  const loadable: unknown[] = [];
  add(textFile('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' })));
  for (const { repository, reference } of images) {
    const chosen = await chooseManifests({ store, pulls }, { repository, reference }, options);
    const [top] = chosen;
    if (top === undefined) continue;
    for (const { digest, bytes, manifest } of chosen) {
      add({ name: pathOf(digest), sizeBytes: bytes.length, bytes: () => once(bytes) });
      for (const blob of manifest.blobs) {
        if (!isForeign(blob)) add(blobFile(pulls, repository, blob));
      }
    }
    const name = `${repositoryKey(repository)}${reference.tag === undefined ? '@' : ':'}${referenceText(reference)}`;
    index.push({
      mediaType: top.mediaType,
      digest: top.digest,
      size: top.bytes.length,
      ...(reference.tag === undefined
        ? { annotations: { 'io.containerd.image.name': name } }
        : {
            annotations: {
              'io.containerd.image.name': name,
              'org.opencontainers.image.ref.name': reference.tag,
            },
          }),
    });
    const image = chosen.find(({ manifest }) => manifest.kind === 'image');
    if (options.format === 'docker' && image !== undefined) {
      const [config, ...layers] = image.manifest.blobs;
      loadable.push({
        Config: config === undefined ? '' : pathOf(config.digest),
        RepoTags: reference.tag === undefined ? [] : [name],
        Layers: layers.map(({ digest }) => pathOf(digest)),
      });
    }
  }
  add(
    textFile(
      'index.json',
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: index }),
    ),
  );
  if (options.format === 'docker') add(textFile('manifest.json', JSON.stringify(loadable)));
  return archiveOf([...files.values()]);
}

/** The manifest that is named, and those below it that go along. */
async function chooseManifests(
  { store, pulls }: { store: BlobStore; pulls: Pulls },
  { repository, reference }: NamedImage,
  { platforms, format }: ExportOptions,
): Promise<StoredManifest[]> {
  const found = await pulls.manifest(repository, reference);
  const read = (digest: Digest, bytes: Buffer, type: string): StoredManifest => {
    const manifest = parseManifest(bytes, type);
    return { digest, bytes, manifest, mediaType: manifest.mediaType };
  };
  const top = read(found.descriptor.digest, found.bytes, found.descriptor.mediaType);
  if (top.manifest.kind !== 'index') return [top];
  const wanted = await choosePlatforms(top.bytes, {
    platforms,
    attestations: format === 'oci',
    has: async (digest) => isHere(store, await findManifest(store, digest, undefined)),
  });
  const chosen: StoredManifest[] = [];
  for (const digest of wanted) {
    const child = await pulls.manifest(repository, { digest });
    chosen.push(read(digest, child.bytes, child.descriptor.mediaType));
  }
  if (chosen.length === 0) {
    throw new MirrorError(
      'MANIFEST_UNKNOWN',
      `${repositoryKey(repository)}:${referenceText(reference)} has no such platform: ${platforms.join(', ')}`,
    );
  }
  // The classic image store has one platform an image.
  return [top, ...(format === 'docker' ? chosen.slice(0, 1) : chosen)];
}

async function isHere(store: BlobStore, found: StoredManifest | undefined): Promise<boolean> {
  for (const blob of found?.manifest.blobs ?? []) {
    if (!isForeign(blob) && !(await store.has(blob.digest))) return false;
  }
  return found !== undefined;
}

function archiveOf(files: readonly File[]): Archive {
  const sizeBytes = files.reduce(
    (sum, file) => sum + tarBytesOf(file.name, file.sizeBytes),
    tarEnd().length,
  );
  return {
    sizeBytes,
    async *bytes() {
      for (const file of files) {
        yield tarHeader(file.name, file.sizeBytes);
        yield* file.bytes();
        yield tarPadding(file.sizeBytes);
      }
      yield tarEnd();
    },
  };
}

function textFile(name: string, text: string): File {
  const bytes = encoder.encode(text);
  return { name, sizeBytes: bytes.length, bytes: () => once(bytes) };
}

/** Its bytes are checked as they are read; one that breaks breaks the archive off. */
function blobFile(pulls: Pulls, repository: Repository, { digest, size }: Descriptor): File {
  return {
    name: pathOf(digest),
    sizeBytes: size,
    async *bytes() {
      const { content } = await pulls.blob(repository, digest);
      try {
        if (content.sizeBytes !== size) {
          throw new MirrorError(
            'CONTENT_CORRUPT',
            `${digest} has ${content.sizeBytes} bytes in place of the ${size} that its manifest says`,
          );
        }
        const hash = createHash(algorithmOf(digest));
        const reader = content.read({ start: 0, end: size });
        try {
          for (let lease = await reader.next(); lease !== undefined; lease = await reader.next()) {
            // Whoever writes it may have it longer than the lease.
            const bytes = Buffer.from(lease.bytes);
            lease.release();
            hash.update(bytes);
            yield bytes;
          }
          if (hash.digest('hex') !== encodedOf(digest)) {
            throw new MirrorError('CONTENT_CORRUPT', `the content of ${digest} is wrong`);
          }
        } finally {
          reader.close();
        }
      } finally {
        content.close();
      }
    },
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes;
}

function pathOf(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${encodedOf(digest)}`;
}

import { createHash } from 'node:crypto';
import { findDigest, type Digest } from '../../oci/digest.ts';
import { mediaTypes } from '../../oci/manifest.ts';
import { isTag, type Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import { parseImage } from '../select/images.ts';
import { kindOf } from './archive-paths.ts';

/** A manifest and the name under which it is to be served. */
export interface NamedManifest {
  readonly repository: Repository;
  readonly tag: string | undefined;
  readonly digest: Digest;
  readonly mediaType?: string | undefined;
}

/** What an archive says of itself. */
interface Documents {
  readonly documents: ReadonlyMap<string, string>;
  readonly sizes: ReadonlyMap<Digest, number>;
}

type Skip = (object: string, reason: string) => void;

/**
 * The images of an OCI layout by its `index.json`, else those of a Docker archive by its `manifest.json`.
 * @param fallback `registry/name[:tag]` for what the archive gives a tag only, or no name
 */
export async function namedIn(
  store: BlobStore,
  archive: Documents,
  fallback: string | undefined,
  skip: Skip,
): Promise<NamedManifest[]> {
  const index = archive.documents.get('index.json');
  if (index !== undefined) return namedInLayout(index, fallback, skip);
  const list = archive.documents.get('manifest.json');
  return list === undefined ? [] : namedInDockerArchive(store, archive, list, fallback, skip);
}

function namedInLayout(text: string, fallback: string | undefined, skip: Skip): NamedManifest[] {
  const named: NamedManifest[] = [];
  for (const entry of listOf(parse('index.json', text, skip), 'manifests')) {
    const { digest: digestText, mediaType, annotations } = entry;
    const digest = typeof digestText === 'string' ? findDigest(digestText) : undefined;
    if (digest === undefined) {
      skip('index.json', 'an entry of it has no digest');
      continue;
    }
    const notes = (annotations ?? {}) as Record<string, unknown>;
    const name = notes['io.containerd.image.name'] ?? notes['org.opencontainers.image.ref.name'];
    const found = nameFrom(typeof name === 'string' ? name : undefined, fallback);
    if (found === undefined) {
      skip(digest, 'the archive gives it no full name; give one with --name registry/name:tag');
      continue;
    }
    named.push({
      ...found,
      digest,
      mediaType: typeof mediaType === 'string' ? mediaType : undefined,
    });
  }
  return named;
}

/** Layers are plain tars there; a manifest is made of them, which has a digest of its own. */
async function namedInDockerArchive(
  store: BlobStore,
  { sizes }: Documents,
  text: string,
  fallback: string | undefined,
  skip: Skip,
): Promise<NamedManifest[]> {
  const named: NamedManifest[] = [];
  const document = parse('manifest.json', text, skip);
  for (const { Config, Layers, RepoTags } of Array.isArray(document) ? document : []) {
    const descriptorOf = (path: unknown, mediaType: string): object | undefined => {
      const found = typeof path === 'string' ? kindOf(path) : undefined;
      if (found?.kind !== 'blob') return undefined;
      const size = sizes.get(found.digest);
      return size === undefined ? undefined : { mediaType, size, digest: found.digest };
    };
    const config = descriptorOf(Config, 'application/vnd.docker.container.image.v1+json');
    const layers = (Array.isArray(Layers) ? Layers : []).map((path) =>
      descriptorOf(path, 'application/vnd.docker.image.rootfs.diff.tar'),
    );
    if (config === undefined || layers.includes(undefined)) {
      skip('manifest.json', 'an image of it names files that are not in the archive by digest');
      continue;
    }
    const mediaType = mediaTypes.dockerManifest;
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
    const digest = await storeManifest(store, bytes);
    const tags = Array.isArray(RepoTags) && RepoTags.length > 0 ? (RepoTags as unknown[]) : [''];
    for (const tag of tags) {
      const found = nameFrom(typeof tag === 'string' && tag !== '' ? tag : undefined, fallback);
      if (found === undefined)
        skip(digest, 'it has no name; give one with --name registry/name:tag');
      else named.push({ ...found, digest, mediaType });
    }
  }
  return named;
}

async function storeManifest(store: BlobStore, bytes: Buffer): Promise<Digest> {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
  if (await store.has(digest)) return digest;
  const ingest = await store.ingest(digest, bytes.length);
  const writer = ingest.writer(0);
  await writer.append(bytes);
  await writer.end();
  await ingest.complete();
  await ingest.committed;
  return digest;
}

/** `1.27` is a tag and needs a name beside it; `nginx:1.27` and `ghcr.io/o/i:1` are whole. */
function nameFrom(
  text: string | undefined,
  fallback: string | undefined,
): { repository: Repository; tag: string | undefined } | undefined {
  const isTagOnly = text !== undefined && isTag(text);
  const base = fallback === undefined ? undefined : find(fallback);
  if (text === undefined) return base;
  if (!isTagOnly) return find(text) ?? base;
  if (base === undefined) return undefined;
  return { repository: base.repository, tag: text };
}

function find(text: string): { repository: Repository; tag: string | undefined } | undefined {
  try {
    const { repository, reference } = parseImage(text);
    return { repository, tag: reference.tag };
  } catch {
    return undefined;
  }
}

type Json = Record<string, unknown>;

function parse(name: string, text: string, skip: Skip): Json | Json[] {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Json | Json[];
  } catch {
    // Said below.
  }
  skip(name, 'it is no JSON document');
  return {};
}

function listOf(document: Json | Json[], key: string): Json[] {
  const list = Array.isArray(document) ? undefined : document[key];
  return Array.isArray(list)
    ? list.filter((one): one is Json => typeof one === 'object' && one !== null)
    : [];
}

import { findDigest } from './digest.ts';
import type { Descriptor } from './descriptor.ts';
import { MirrorError } from './errors.ts';

export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  ociArtifact: 'application/vnd.oci.artifact.manifest.v1+json',
} as const;

/**
 * What the mirror asks upstream for, always, whatever the client said: quay falls back to schema 1 and
 * older registries answer 404 for an index when a type is missing. Schema 1 is left out on purpose.
 */
export const manifestAccept = `${Object.values(mediaTypes).join(', ')}, application/json;q=0.5, */*;q=0.1`;

/**
 * Clients refuse larger ones: containers/image above 4 MiB, containerd above 4,393,216 bytes
 * (`MaxManifestSize`); the larger of the two is let through.
 */
export const manifestSizeBytesMax = 4_393_216;

/** More than any real index or image has; bounds what one hostile manifest can make us do. */
const descriptorsMax = 20_000;

/** A manifest as the mirror needs it: what it is, and what it names. */
export interface Manifest {
  readonly kind: 'image' | 'index' | 'artifact';
  readonly mediaType: string;
  /** Config and layers of an image, blobs of an artifact; what a pull fetches next as blobs. */
  readonly blobs: readonly Descriptor[];
  /** The manifests that an index names. */
  readonly manifests: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
}

/**
 * Reads a manifest. The type comes from the content: `mediaType` when it is there, else the fields
 * (upstreams send `text/plain`, `application/json` and worse as Content-Type). One of a type that the
 * mirror does not know is an artifact, with what it names in the usual fields: registries keep such
 * ones, and clients that know them ask for them. What is named by another digest algorithm is left out:
 * it cannot be had through here.
 *
 * @param bytes the exact body, at most `manifestSizeBytesMax`
 * @param contentType what upstream's header said, with or without parameters
 * @throws MirrorError UPSTREAM_INVALID when it is no manifest, is schema 1, or claims to be two things
 *   at once (CVE-2021-41190)
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  const document = parseObject(bytes);
  const headerType = contentType?.split(';', 1)[0]?.trim().toLowerCase();
  const declared = typeof document['mediaType'] === 'string' ? document['mediaType'] : undefined;
  if (document['schemaVersion'] === 1 || 'fsLayers' in document) {
    throw invalid('it is a schema 1 manifest, which every current client refuses');
  }
  // Go writes an empty list as null.
  const isIndex = Array.isArray(document['manifests']) || document['manifests'] === null;
  const isImage = Array.isArray(document['layers']) || 'config' in document;
  if (isIndex && isImage) throw invalid('it has both «manifests» and «layers» or «config»');
  const otherType = otherTypeOf(declared, headerType, isIndex || isImage);
  if (otherType !== undefined) {
    return {
      kind: 'artifact',
      mediaType: otherType,
      blobs: [document['config'], document['layers'], document['blobs']].flatMap(namedIn),
      manifests: namedIn(document['manifests']),
      subject: descriptorOf(document['subject']),
    };
  }

  if (isIndex) {
    const fallback =
      headerType === mediaTypes.dockerList ? mediaTypes.dockerList : mediaTypes.ociIndex;
    const mediaType = typeOf(declared, fallback, [mediaTypes.ociIndex, mediaTypes.dockerList]);
    return {
      kind: 'index',
      mediaType,
      blobs: [],
      manifests: descriptorsOf(document['manifests'] ?? []),
      subject: descriptorOf(document['subject']),
    };
  }
  if (isImage) {
    const fallback =
      headerType === mediaTypes.dockerManifest ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
    const mediaType = typeOf(declared, fallback, [
      mediaTypes.ociManifest,
      mediaTypes.dockerManifest,
    ]);
    return {
      kind: 'image',
      mediaType,
      blobs: [...descriptorsOf([document['config']]), ...descriptorsOf(document['layers'] ?? [])],
      manifests: [],
      subject: descriptorOf(document['subject']),
    };
  }
  if (declared === mediaTypes.ociArtifact || headerType === mediaTypes.ociArtifact) {
    return {
      kind: 'artifact',
      mediaType: mediaTypes.ociArtifact,
      blobs: descriptorsOf(document['blobs'] ?? []),
      manifests: [],
      subject: descriptorOf(document['subject']),
    };
  }
  throw invalid('it names neither layers nor manifests');
}

/** Layers that a registry need not hold; clients fetch their `urls` themselves, the mirror never does. */
export function isForeign(descriptor: Descriptor): boolean {
  return (
    descriptor.mediaType.includes('foreign') || descriptor.mediaType.includes('nondistributable')
  );
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new MirrorError('UPSTREAM_INVALID', 'upstream sent a manifest that is not JSON', {
      cause,
    });
  }
  if (isObject(value)) return value;
  throw invalid('it is not a JSON object');
}

/** The declared type when there is one; it must then be of the kind that the fields show. */
function typeOf(
  declared: string | undefined,
  fallback: string,
  allowed: readonly string[],
): string {
  if (declared === undefined) return fallback;
  if (allowed.includes(declared)) return declared;
  throw invalid(`its mediaType ${JSON.stringify(declared.slice(0, 100))} contradicts its fields`);
}

/**
 * The type of something that is none of the kinds the mirror knows: it declares one of its own, or has
 * no fields of theirs and a vendor's type in the header. Undefined: it is to be one of them.
 */
function otherTypeOf(
  declared: string | undefined,
  headerType: string | undefined,
  hasKnownFields: boolean,
): string | undefined {
  const type = declared ?? (hasKnownFields ? undefined : headerType);
  if (type === undefined || !/^application\/[\w.+-]{1,200}$/i.test(type)) return undefined;
  if (isKnownType(type)) return undefined;
  return declared === undefined && !type.startsWith('application/vnd.') ? undefined : type;
}

export function isKnownType(mediaType: string): boolean {
  return Object.values<string>(mediaTypes).includes(mediaType);
}

function descriptorsOf(value: unknown): Descriptor[] {
  if (!Array.isArray(value)) throw invalid('a list of descriptors is not a list');
  if (value.length > descriptorsMax)
    throw invalid(`it names more than ${descriptorsMax} descriptors`);
  return value.flatMap((item) => {
    const descriptor = descriptorOf(item);
    if (descriptor !== undefined) return [descriptor];
    if (isOfOtherAlgorithm(item)) return [];
    throw invalid('it names something that is not a descriptor');
  });
}

/** The descriptors in a field whose meaning is not known: one, or a list, or something else. */
function namedIn(value: unknown): Descriptor[] {
  const items: unknown[] = Array.isArray(value) ? value : [value];
  if (items.length > descriptorsMax)
    throw invalid(`it names more than ${descriptorsMax} descriptors`);
  return items.flatMap((item) => descriptorOf(item) ?? []);
}

function descriptorOf(value: unknown): Descriptor | undefined {
  if (!isObject(value)) return undefined;
  const { mediaType, digest, size } = value;
  const found = typeof digest === 'string' ? findDigest(digest) : undefined;
  if (found === undefined || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    return undefined;
  }
  return { mediaType: typeof mediaType === 'string' ? mediaType : '', digest: found, size };
}

/** By the grammar of image-spec, descriptor.md, «Digests», and none of the registered algorithms. */
function isOfOtherAlgorithm(value: unknown): boolean {
  const digest = isObject(value) ? value['digest'] : undefined;
  if (typeof digest !== 'string' || digest.length > 1_000) return false;
  const algorithm = /^([a-z0-9]+(?:[.+_-][a-z0-9]+)*):[a-zA-Z0-9=_-]+$/.exec(digest)?.[1];
  return algorithm !== undefined && algorithm !== 'sha256' && algorithm !== 'sha512';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(reason: string): MirrorError {
  return new MirrorError(
    'UPSTREAM_INVALID',
    `upstream sent something that is no usable manifest: ${reason}`,
  );
}

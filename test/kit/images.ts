import { createCipheriv, createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { parseDigest, type Digest } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/manifest.ts';
import { tarOf, type TarEntry } from './tar.ts';

/** Bytes with the name that their hash gives them. */
export interface Piece {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
}

export interface Image {
  readonly manifest: Piece;
  readonly config: Piece;
  readonly layers: readonly Piece[];
  readonly platform: Platform;
  /** SHA-256 of each uncompressed layer, as the config states them. */
  readonly diffIds: readonly Digest[];
}

export interface ImageIndex {
  readonly manifest: Piece;
  readonly images: readonly Image[];
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface ImageOptions {
  readonly seed: string | number;
  /** A number is the size in bytes of the random file `layer-<i>.bin`, hence nearly that of the layer. */
  readonly layers: readonly (number | readonly TarEntry[])[];
  /** `os/architecture[/variant]`; `linux/amd64` unless told. */
  readonly platform?: string;
  /** Docker media types in place of OCI ones. */
  readonly docker?: boolean;
  readonly command?: readonly string[];
  readonly subject?: Descriptor;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An image that real clients accept: layers are gzipped tars, diff ids are right. One seed, one image. */
export function makeImage(options: ImageOptions): Image {
  const docker = options.docker ?? false;
  const platform = parsePlatform(options.platform ?? 'linux/amd64');
  const tars = options.layers.map((layer, index) =>
    tarOf(typeof layer === 'number' ? [randomEntry(options.seed, index, layer)] : layer),
  );
  const layers = tars.map((tar) =>
    // Stored, not deflated: the content is random, and real clients ask only for the gzip framing.
    pieceOf(gzipSync(tar, { level: 0 }), docker ? dockerTypes.layer : ociTypes.layer),
  );
  const diffIds = tars.map((tar) => sha256(tar));
  const config = pieceOf(
    jsonOf({
      created: '1970-01-01T00:00:00Z',
      ...platform,
      config: { Cmd: options.command ?? ['/bin/sh'], Env: [`SEED=${options.seed}`] },
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: diffIds.map((_, index) => ({
        created: '1970-01-01T00:00:00Z',
        created_by: `layer ${index}`,
      })),
    }),
    docker ? dockerTypes.config : ociTypes.config,
  );
  const mediaType = docker ? mediaTypes.dockerManifest : mediaTypes.ociManifest;
  const manifest = pieceOf(
    jsonOf({
      schemaVersion: 2,
      mediaType,
      artifactType: options.artifactType,
      config: descriptorOf(config),
      layers: layers.map((layer) => descriptorOf(layer)),
      subject: options.subject,
      annotations: options.annotations,
    }),
    mediaType,
  );
  return { manifest, config, layers, platform, diffIds };
}

/** An index of images for several platforms; a Docker manifest list when its first image is Docker's. */
export function makeIndex(images: readonly Image[]): ImageIndex {
  const docker = images[0]?.manifest.mediaType === mediaTypes.dockerManifest;
  const mediaType = docker ? mediaTypes.dockerList : mediaTypes.ociIndex;
  const manifests = images.map((image) => ({
    ...descriptorOf(image.manifest),
    platform: image.platform,
  }));
  const manifest = pieceOf(jsonOf({ schemaVersion: 2, mediaType, manifests }), mediaType);
  return { manifest, images };
}

/** Pseudo-random bytes from a seed, quick even for hundreds of MiB. */
export function makeBlob(seed: string | number, sizeBytes: number): Piece {
  return pieceOf(randomBytesOf(seed, sizeBytes), 'application/octet-stream');
}

export function pieceOf(bytes: Buffer, mediaType: string): Piece {
  return { bytes, digest: sha256(bytes), mediaType };
}

export function descriptorOf(piece: Piece): Descriptor {
  return { mediaType: piece.mediaType, digest: piece.digest, size: piece.bytes.length };
}

export function sha256(bytes: Uint8Array): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}

const ociTypes = {
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const;

const dockerTypes = {
  config: 'application/vnd.docker.container.image.v1+json',
  layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const;

function randomEntry(seed: string | number, index: number, sizeBytes: number): TarEntry {
  return { name: `layer-${index}.bin`, bytes: randomBytesOf(`${seed}/${index}`, sizeBytes) };
}

/** The key stream of AES-CTR: incompressible, and several hundred MB/s. */
function randomBytesOf(seed: string | number, sizeBytes: number): Buffer {
  const key = createHash('sha256').update(String(seed)).digest();
  const cipher = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16));
  return cipher.update(Buffer.alloc(sizeBytes));
}

function parsePlatform(text: string): Platform {
  const [os = 'linux', architecture = 'amd64', variant] = text.split('/');
  return variant === undefined ? { os, architecture } : { os, architecture, variant };
}

function jsonOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value, undefined, 2));
}

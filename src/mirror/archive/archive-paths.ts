import { findDigest, type Digest } from '../../oci/digest.ts';
import { isRepositoryName, isTag } from '../../oci/reference.ts';

/** What a member of an archive is, by its path. */
export type Member =
  | { readonly kind: 'blob'; readonly digest: Digest }
  | { readonly kind: 'document'; readonly name: 'index.json' | 'manifest.json' }
  | { readonly kind: 'manifest'; readonly repository: string; readonly digest: Digest }
  | { readonly kind: 'tag'; readonly repository: string; readonly tag: string }
  /** A layer of an archive that names layers by something else than their digests. */
  | { readonly kind: 'unverifiable' };

const registryRoot = /(?:^|\/)docker\/registry\/v2\/(.*)$/;
const registryBlob = /^blobs\/(sha256|sha512)\/[a-f0-9]{2}\/([a-f0-9]+)\/data$/;
const registryManifest =
  /^repositories\/(.+)\/_manifests\/revisions\/(sha256|sha512)\/([a-f0-9]+)\/link$/;
const registryTag = /^repositories\/(.+)\/_manifests\/tags\/([^/]+)\/current\/link$/;
const layoutBlob = /^blobs\/(sha256|sha512)\/([a-f0-9]+)$/;
const dockerBlob = /^([a-f0-9]{64})\.(?:tar|json)$/;

/**
 * Paths are compared, never joined to anything: one that climbs out of the archive matches nothing.
 * @returns undefined for what is passed over
 */
export function kindOf(path: string): Member | undefined {
  const name = path.replace(/^(?:\.\/)+/, '');
  const inRegistry = registryRoot.exec(name)?.[1];
  if (inRegistry !== undefined) return kindInRegistry(inRegistry);
  if (name === 'index.json' || name === 'manifest.json') return { kind: 'document', name };
  const [, algorithm, hex] = layoutBlob.exec(name) ?? [];
  const docker = dockerBlob.exec(name)?.[1];
  const digest = findDigest(docker === undefined ? `${algorithm}:${hex}` : `sha256:${docker}`);
  if (digest !== undefined) return { kind: 'blob', digest };
  return /^[a-f0-9]{64}\/layer\.tar$/.test(name) ? { kind: 'unverifiable' } : undefined;
}

function kindInRegistry(name: string): Member | undefined {
  const blob = registryBlob.exec(name);
  if (blob !== null) {
    const digest = findDigest(`${blob[1]}:${blob[2]}`);
    return digest === undefined ? undefined : { kind: 'blob', digest };
  }
  const manifest = registryManifest.exec(name);
  if (manifest !== null) {
    const [, repository = '', algorithm, hex] = manifest;
    const digest = findDigest(`${algorithm}:${hex}`);
    if (digest === undefined || !isRepositoryName(repository)) return undefined;
    return { kind: 'manifest', repository, digest };
  }
  const [, repository = '', tag = ''] = registryTag.exec(name) ?? [];
  if (!isRepositoryName(repository) || !isTag(tag)) return undefined;
  return { kind: 'tag', repository, tag };
}

import {
  canonicalRegistry,
  isRepositoryName,
  repositoryOf,
  type Reference,
  type Repository,
} from '../../oci/reference.ts';
import { findDigest, type Digest } from '../../oci/digest.ts';
import { isExactTag, tagMatcher } from './tags.ts';

/** An image as a rule or a person names it. */
export interface ImagePattern {
  readonly repository: Repository;
  /** One tag or a pattern of tags; undefined when the digest says which. */
  readonly tags: string | undefined;
  readonly digest: Digest | undefined;
}

/**
 * `docker.io/library/nginx:1.27`, `nginx` (latest, of Docker Hub), `ghcr.io/o/i:1.*`, `…@sha256:…`.
 * The first part is a registry when it has a dot or a port, or is localhost, as Docker reads it.
 * @throws RangeError that says what is wrong
 */
export function parseImagePattern(text: string): ImagePattern {
  const at = text.indexOf('@');
  const digest = at === -1 ? undefined : findDigest(text.slice(at + 1));
  if (at !== -1 && digest === undefined)
    throw new RangeError(`«${text}» has no valid digest after @`);
  const named = at === -1 ? text : text.slice(0, at);
  // The first that is not before a port.
  const colon = named.search(/:(?!\d+\/)/);
  const path = colon === -1 ? named : named.slice(0, colon);
  const pattern = colon === -1 ? undefined : named.slice(colon + 1);
  const slash = path.indexOf('/');
  const first = path.slice(0, Math.max(0, slash));
  const isRegistry = /[.:]/.test(first) || first === 'localhost';
  const registry = isRegistry ? canonicalRegistry(first) : 'docker.io';
  const name = isRegistry ? path.slice(slash + 1) : path;
  if (!isRepositoryName(name)) {
    throw new RangeError(
      `«${text}» is not an image; write for example docker.io/library/nginx:1.27`,
    );
  }
  const tags = digest === undefined ? (pattern ?? 'latest') : undefined;
  if (tags !== undefined) tagMatcher(tags);
  return { repository: repositoryOf(registry, name), tags, digest };
}

/**
 * One image, as a person names it: by tag, `latest` unless told, or by digest.
 * @throws RangeError that says what is wrong
 */
export function parseImage(text: string): { repository: Repository; reference: Reference } {
  const { repository, tags = 'latest', digest } = parseImagePattern(text);
  if (digest !== undefined) return { repository, reference: { digest } };
  if (isExactTag(tags)) return { repository, reference: { tag: tags } };
  throw new RangeError(`«${text}» names a pattern of tags; write one tag, or a digest`);
}

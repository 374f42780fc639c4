import { MirrorError } from './errors.ts';
import { findDigest, type Digest } from './digest.ts';

/** Where content lives: the registry's canonical host name and the repository's name in it. */
export interface Repository {
  readonly registry: string;
  readonly name: string;
}

/** What a manifest is asked by. */
export type Reference =
  | { readonly tag: string; readonly digest?: undefined }
  | { readonly digest: Digest; readonly tag?: undefined };

// distribution-spec, «Pulling manifests». Linear: no part can match what its neighbour matches.
const nameGrammar =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Clients cap host, `/` and name at 255 characters together. */
const nameLengthMax = 255;

export function isRepositoryName(text: string): boolean {
  return text.length <= nameLengthMax && nameGrammar.test(text);
}

export function isTag(text: string): boolean {
  return tagGrammar.test(text);
}

/** @throws MirrorError NAME_INVALID */
export function parseRepositoryName(text: string): string {
  if (isRepositoryName(text)) return text;
  throw new MirrorError(
    'NAME_INVALID',
    `not a repository name: ${JSON.stringify(text.slice(0, 300))}; expected lower-case path components of letters, digits and single . _ - separators, ${nameLengthMax} characters at most`,
  );
}

/**
 * A tag or a digest. A colon is legal in a digest only, so what has one is held to that grammar.
 * @throws MirrorError TAG_INVALID, DIGEST_INVALID
 */
export function parseReference(text: string): Reference {
  const digest = findDigest(text);
  if (digest !== undefined) return { digest };
  if (isTag(text)) return { tag: text };
  if (text.includes(':')) {
    throw new MirrorError(
      'DIGEST_INVALID',
      `not a digest: ${JSON.stringify(text.slice(0, 160))}; expected sha256:<64 hex digits> or sha512:<128 hex digits>, in lower case`,
    );
  }
  throw new MirrorError(
    'TAG_INVALID',
    `not a tag: ${JSON.stringify(text.slice(0, 160))}; expected up to 128 of A-Z a-z 0-9 _ . -, not starting with . or -`,
  );
}

/** `docker.io`, `index.docker.io` and `registry-1.docker.io` are one registry; its name is the first. */
export function canonicalRegistry(host: string): string {
  const lower = host.toLowerCase();
  return lower === 'index.docker.io' || lower === 'registry-1.docker.io' ? 'docker.io' : lower;
}

/** At Docker Hub, and only there, a name of one component lives under `library/`. */
export function repositoryOf(registry: string, name: string): Repository {
  const full = registry === 'docker.io' && !name.includes('/') ? `library/${name}` : name;
  return { registry, name: full };
}

/** `registry/name`: the one spelling that keys every cache and every message. */
export function repositoryKey(repository: Repository): string {
  return `${repository.registry}/${repository.name}`;
}

export function referenceText(reference: Reference): string {
  return reference.tag ?? reference.digest;
}

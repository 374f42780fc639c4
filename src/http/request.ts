import { findDigest, parseDigest, type Digest } from '../oci/digest.ts';
import { MirrorError } from '../oci/errors.ts';
import {
  canonicalRegistry,
  isTag,
  parseReference,
  parseRepositoryName,
  repositoryOf,
  type Reference,
  type Repository,
} from '../oci/reference.ts';

/** What a client asks the registry door for; parsed once, from the raw request target. */
export type RegistryRequest = {
  /** The `ns` that the client named, to be echoed as OCI-Namespace. */
  readonly ns: string | undefined;
  /** What stood before `/v2`, with its slash, for links that lead back here. */
  readonly prefix: string;
} & (
  | { readonly what: 'ping' }
  | { readonly what: 'manifest'; readonly repository: Repository; readonly reference: Reference }
  | { readonly what: 'blob'; readonly repository: Repository; readonly digest: Digest }
  | {
      readonly what: 'tags';
      readonly repository: Repository;
      readonly page: Page;
      readonly path: string;
    }
  | {
      readonly what: 'referrers';
      readonly repository: Repository;
      readonly digest: Digest;
      /** Any of these; none: all. */
      readonly artifactTypes: readonly string[];
    }
  | { readonly what: 'catalog'; readonly registry: string | undefined; readonly page: Page }
);

/** A part of a list: at most `n` entries after `last`. */
export interface Page {
  readonly n: number | undefined;
  readonly last: string | undefined;
}

/** The closed list of names that a request can choose from; never a host to dial. */
export interface KnownUpstreams {
  has(registry: string): boolean;
  readonly defaultUpstream: string;
}

/** More entries than this a page are never answered at once (CVE-2023-2253: `n` is not trusted). */
export const pageMax = 10_000;

/** Longer targets are no image names; a digest and the longest name make some 500 characters. */
const targetLengthMax = 4096;

/**
 * Reads the raw request target: `new URL` would replace the host, resolve `..` and unescape.
 * @throws MirrorError NAME_INVALID, NAME_UNKNOWN, TAG_INVALID, DIGEST_INVALID, PATH_UNKNOWN,
 *   REQUEST_INVALID
 */
export function parseTarget(target: string, upstreams: KnownUpstreams): RegistryRequest {
  if (target.length > targetLengthMax)
    throw new MirrorError('NAME_INVALID', 'the path is too long');
  const question = target.indexOf('?');
  const rawPath = question < 0 ? target : target.slice(0, question);
  const query = new URLSearchParams(question < 0 ? '' : target.slice(question + 1));
  // Names need no escapes; a few clients escape the colon of a digest.
  const path = rawPath.includes('%') ? rawPath.replaceAll(/%3a/gi, ':') : rawPath;
  if (/[^A-Za-z0-9._:/-]/.test(path)) {
    throw new MirrorError('NAME_INVALID', 'the path has characters that no image name has');
  }
  const { prefix, rest } = splitAtVersion(path);
  const ns = query.get('ns') ?? undefined;
  const registry = namedRegistry(ns, prefix, upstreams);
  const common = { ns, prefix };
  if (rest === '') return { ...common, what: 'ping' };
  if (rest === '_catalog') return { ...common, what: 'catalog', registry, page: pageOf(query) };

  const match = /^(.+)\/(?:(manifests|blobs|referrers)\/([^/]*)|tags\/(list))$/.exec(rest);
  const [, named, kind, last] = match ?? [];
  if (named === undefined)
    throw new MirrorError('PATH_UNKNOWN', `no endpoint has the path ${path}`);
  const repository = repositoryIn(named, registry, upstreams);
  if (kind === undefined) {
    return {
      ...common,
      what: 'tags',
      repository,
      page: pageOf(query),
      path: `${prefix}/v2/${rest}`,
    };
  }
  const text = last ?? '';
  switch (kind) {
    case 'manifests':
      return { ...common, what: 'manifest', repository, reference: parseReference(text) };
    case 'blobs':
      return { ...common, what: 'blob', repository, digest: parseDigest(text) };
    default: {
      // containerd sends a parameter for each type that it wants.
      const artifactTypes = query.getAll('artifactType').filter((type) => type !== '');
      return { ...common, what: 'referrers', repository, digest: parseDigest(text), artifactTypes };
    }
  }
}

function splitAtVersion(path: string): { prefix: string; rest: string } {
  const own = /^\/v2(?:\/(.*))?$/.exec(path);
  if (own !== null) return { prefix: '', rest: own[1] ?? '' };
  const prefixed = /^(\/[^/]+)\/v2(?:\/(.*))?$/.exec(path);
  if (prefixed !== null) return { prefix: prefixed[1]!, rest: prefixed[2] ?? '' };
  throw new MirrorError('PATH_UNKNOWN', 'the registry API is below /v2/');
}

/** The registry that `ns` or the prefix names; undefined when neither is there. */
function namedRegistry(
  ns: string | undefined,
  prefix: string,
  upstreams: KnownUpstreams,
): string | undefined {
  const text = ns ?? (prefix === '' ? undefined : prefix.slice(1));
  if (text === undefined) return undefined;
  // Lower case makes an ASCII letter of a few others: only ASCII is a host.
  const registry = /^[\x21-\x7e]+$/.test(text) ? canonicalRegistry(text) : '';
  if (upstreams.has(registry)) return registry;
  throw unknownRegistry(text);
}

function repositoryIn(
  named: string,
  registry: string | undefined,
  upstreams: KnownUpstreams,
): Repository {
  const slash = named.indexOf('/');
  if (registry !== undefined) {
    // BuildKit's mirrors with a path, and containerd's `override_path`, say it twice: ns, and in the name.
    const isTwice = slash > 0 && canonicalRegistry(named.slice(0, slash)) === registry;
    return repositoryOf(registry, parseRepositoryName(isTwice ? named.slice(slash + 1) : named));
  }
  if (slash > 0) {
    const first = named.slice(0, slash);
    const candidate = canonicalRegistry(first);
    const rest = named.slice(slash + 1);
    if (upstreams.has(candidate)) return repositoryOf(candidate, parseRepositoryName(rest));
    // What reads as a host is one: it must not become a repository of the default upstream.
    if (/[.:]/.test(first) || first === 'localhost') {
      parseRepositoryName(rest);
      throw unknownRegistry(first);
    }
  }
  return repositoryOf(upstreams.defaultUpstream, parseRepositoryName(named));
}

function unknownRegistry(text: string): MirrorError {
  return new MirrorError(
    'NAME_UNKNOWN',
    `${JSON.stringify(text.slice(0, 255))} is not an upstream of this mirror; its operator adds it under «upstreams»`,
  );
}

function pageOf(query: URLSearchParams): Page {
  // A client without a value may send the name alone: it says nothing.
  const n = query.get('n') || undefined;
  const last = query.get('last') || undefined;
  if (n !== undefined && !/^\d{1,9}$/.test(n)) {
    throw new MirrorError('REQUEST_INVALID', 'the query parameter n is not a number');
  }
  if (
    last !== undefined &&
    !isTag(last) &&
    !/^[a-z0-9._:/-]{1,512}$/.test(last) &&
    !findDigest(last)
  ) {
    throw new MirrorError(
      'REQUEST_INVALID',
      'the query parameter last is no tag and no repository',
    );
  }
  return { n: n === undefined ? undefined : Math.min(Number(n), pageMax), last };
}

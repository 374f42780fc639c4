import { MirrorError } from './errors.ts';

/**
 * A content digest, `sha256:<64 hex>` or `sha512:<128 hex>`, lower case. Branded: whoever holds one
 * may use its parts in a file name, because only `parseDigest` and `findDigest` make them.
 *
 * Source: image-spec, descriptor.md, «Registered algorithms».
 */
export type Digest = string & { readonly __brand: 'Digest' };

export type DigestAlgorithm = 'sha256' | 'sha512';

const grammar = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

export function findDigest(text: string | undefined): Digest | undefined {
  return text !== undefined && grammar.test(text) ? (text as Digest) : undefined;
}

/** @throws MirrorError DIGEST_INVALID */
export function parseDigest(text: string): Digest {
  const digest = findDigest(text);
  if (digest !== undefined) return digest;
  throw new MirrorError(
    'DIGEST_INVALID',
    `not a digest: ${JSON.stringify(text.slice(0, 160))}; expected sha256:<64 hex digits> or sha512:<128 hex digits>, in lower case`,
  );
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512';
}

/** The hexadecimal part. */
export function encodedOf(digest: Digest): string {
  return digest.slice(7);
}

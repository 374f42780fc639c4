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

const emptyDigests: Readonly<Record<DigestAlgorithm, string>> = {
  sha256: 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  sha512:
    'sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e',
};

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

/** Whether it is the digest of no bytes at all: the only content whose size is 0. */
export function isOfNothing(digest: Digest): boolean {
  return digest === emptyDigests[algorithmOf(digest)];
}

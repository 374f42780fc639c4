import type { Readable } from 'node:stream';
import type { ByteRange } from '../base/intervals.ts';
import type { Priority } from '../base/limiter.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference } from '../oci/reference.ts';
import type { LimitPause } from './cooldown.ts';
import type { Quota } from './quota.ts';

/**
 * One upstream registry. `name` is the repository's name there. Every method may throw MirrorError
 * UPSTREAM_UNAVAILABLE (no answer, a time-out, 5xx, a web page in place of a refusal), UPSTREAM_LIMITED
 * (429), DENIED (401 or 403 after our token), UPSTREAM_INVALID (an answer that breaks the protocol),
 * OVERLOADED (our own queue is full). Whether a «does not exist» is the registry's own: `isCertain`.
 */
export interface Upstream {
  readonly registry: string;
  /** Whether the last answers were failures, so that a request now would fail without being sent. */
  readonly isDown: boolean;
  /** What each account used and has left of upstream's pull quota, as its answers said. */
  readonly quotas: readonly Quota[];
  /** What is not asked at the moment, because upstream answered 429. */
  readonly pauses: readonly LimitPause[];
  /**
   * GET of a manifest; at Docker Hub this counts as a pull.
   * @throws MirrorError MANIFEST_UNKNOWN
   */
  fetchManifest(name: string, reference: Reference, wait: Wait): Promise<FetchedManifest>;
  /**
   * HEAD of a manifest: free at Docker Hub. What upstream left out is undefined; everything is, when
   * it does not do HEAD.
   * @throws MirrorError MANIFEST_UNKNOWN
   */
  resolve(name: string, reference: Reference, wait: Wait): Promise<Resolved>;
  /**
   * GET of a blob, from the start or a part of it. The caller reads or destroys the body.
   * @throws MirrorError BLOB_UNKNOWN
   */
  fetchBlob(
    name: string,
    digest: Digest,
    part: ByteRange | undefined,
    wait: Wait,
  ): Promise<BlobBody>;
  /**
   * The size of a blob, without its bytes; undefined when upstream does not say.
   * @throws MirrorError BLOB_UNKNOWN
   */
  describeBlob(
    name: string,
    digest: Digest,
    wait: Wait,
  ): Promise<{ sizeBytes: number | undefined }>;
  /**
   * All tags, in upstream's order.
   * @param arrived told of those of each page, when it is read
   * @throws MirrorError NAME_UNKNOWN
   */
  listTags(name: string, wait: Wait, arrived?: Arrived): Promise<Listed<string>>;
  /** The descriptors that upstream's referrers API lists; undefined when it has none. */
  referrers(name: string, digest: Digest, wait: Wait): Promise<Listed<unknown> | undefined>;
}

/** A list as far as upstream gave it. */
export interface Listed<T> {
  readonly items: readonly T[];
  /** Why there is more of it that cannot be had; undefined when it is whole. */
  readonly missing: string | undefined;
}

export type Arrived = (tags: readonly string[]) => void;

/** How long, for whom, and how urgently. */
export interface Wait {
  readonly signal?: AbortSignal | undefined;
  readonly priority?: (() => Priority) | undefined;
  /** For the answer's headers; else the upstream's own setting. */
  readonly headersTimeoutMs?: number | undefined;
  /**
   * That it was not there before this moment does not count: it was known to be there then. On the
   * monotonic scale; Infinity: it is asked for in any case.
   */
  readonly knownMs?: number | undefined;
}

export interface FetchedManifest {
  readonly bytes: Uint8Array;
  readonly contentType: string | undefined;
  /** What the header claimed; the caller compares. */
  readonly digest: Digest | undefined;
  /** Told that it was wrong; see `BlobBody`. */
  readonly distrust: () => boolean;
}

export interface Resolved {
  readonly digest: Digest | undefined;
  readonly mediaType: string | undefined;
  readonly sizeBytes: number | undefined;
}

/** A blob on its way. */
export interface BlobBody {
  /** Where the body begins in the blob: 0 when upstream ignored the range. */
  readonly start: number;
  /** Size of the whole blob; undefined when upstream does not say. */
  readonly sizeBytes: number | undefined;
  readonly acceptsRanges: boolean;
  /** The body goes on to the end of the blob. */
  readonly isOpenEnded: boolean;
  /** Bytes from `start` on; errors, or simply ends early, when upstream breaks off. */
  readonly body: Readable;
  /**
   * Told that the content was wrong: whoever sent it is asked for it last, for a while. Answers whether
   * there is anybody else.
   */
  readonly distrust: () => boolean;
}

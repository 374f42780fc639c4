import type { ByteRange } from '../base/intervals.ts';
import type { Digest } from '../oci/digest.ts';
import type { Lease } from './chunk-cache.ts';

/** Content of known digest and size, whether it lies on the disk or is still arriving. */
export interface Content {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /**
   * A reader of a part. It waits for what has not arrived yet.
   * @param range within 0 … sizeBytes
   */
  read(range: ByteRange): Reader;
}

/** A position in some content. Whoever opens one closes it, at its end too. */
export interface Reader {
  /**
   * The next bytes, in order; undefined at the end of the range. One call at a time.
   * @throws MirrorError CONTENT_CORRUPT, DISK_FAILED, UPSTREAM_UNAVAILABLE, …: nothing more will come
   */
  next(): Promise<Lease | undefined>;
  close(): void;
}

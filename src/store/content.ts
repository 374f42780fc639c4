import type { ByteRange } from '../base/intervals.ts';
import type { Reader } from '../base/reader.ts';
import type { Digest } from '../oci/digest.ts';

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

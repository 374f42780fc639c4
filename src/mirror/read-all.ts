import type { Digest } from '../oci/digest.ts';
import { isMirrorError } from '../oci/errors.ts';
import { manifestSizeBytesMax } from '../oci/manifest.ts';
import type { BlobStore } from '../store/blob-store.ts';

/**
 * A manifest's bytes from the store; undefined when it is not there, unreadable, or too large for one.
 * @param isUse false for who only looks: it goes no later for that
 */
export async function readAll(
  store: BlobStore,
  digest: Digest,
  isUse: boolean = true,
): Promise<Buffer | undefined> {
  const blob = await (isUse ? store.find(digest) : store.peek(digest));
  if (blob === undefined) return undefined;
  const reader = blob.read({ start: 0, end: blob.sizeBytes });
  try {
    if (blob.sizeBytes > manifestSizeBytesMax) return undefined;
    const bytes = Buffer.allocUnsafeSlow(blob.sizeBytes);
    let position = 0;
    for (let lease = await reader.next(); lease !== undefined; lease = await reader.next()) {
      bytes.set(lease.bytes, position);
      position += lease.bytes.length;
      lease.release();
    }
    return bytes;
  } catch (error) {
    if (isMirrorError(error, 'DISK_FAILED')) return undefined;
    throw error;
  } finally {
    reader.close();
    blob.close();
  }
}

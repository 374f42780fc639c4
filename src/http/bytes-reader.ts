import type { ByteRange } from '../base/intervals.ts';
import type { Reader } from '../base/reader.ts';

/** Reads from memory, as content on the disk is read. */
export function bytesReader(bytes: Uint8Array, { start, end }: ByteRange): Reader {
  let rest: Uint8Array | undefined = bytes.subarray(start, end);
  return {
    next: () => {
      const lease =
        rest === undefined || rest.length === 0
          ? undefined
          : { bytes: rest, isShared: true, release: () => {} };
      rest = undefined;
      return Promise.resolve(lease);
    },
    close: () => {},
  };
}

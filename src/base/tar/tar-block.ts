export const blockBytes = 512;

/** Lengths of fields of a header; POSIX pax, «ustar Interchange Format». */
export const sizeAt = { name: 100, prefix: 155 } as const;

/** The sum of a header's bytes, its own field taken for blanks. */
export function checksumOf(header: Uint8Array): number {
  let sum = 0;
  for (const [at, byte] of header.entries()) sum += at >= 148 && at < 156 ? 32 : byte;
  return sum;
}

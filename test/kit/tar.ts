/** A member of a tar: a file with bytes, or a symbolic link. */
export type TarEntry =
  | { readonly name: string; readonly bytes: Buffer; readonly mode?: number }
  | { readonly name: string; readonly linkTo: string };

const blockBytes = 512;

/** A ustar archive; owner root, time 0, so that equal entries give equal bytes. Names up to 100 bytes. */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    if ('linkTo' in entry) return [header(entry.name, 0, 0o777, entry.linkTo)];
    const padding = (blockBytes - (entry.bytes.length % blockBytes)) % blockBytes;
    return [
      header(entry.name, entry.bytes.length, entry.mode ?? 0o644),
      entry.bytes,
      Buffer.alloc(padding),
    ];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)]);
}

/** The first member of an archive, as `docker cp` sends one. */
export function firstFileOf(tar: Buffer): Buffer {
  const sizeBytes = Number.parseInt(tar.toString('latin1', 124, 135), 8);
  return tar.subarray(blockBytes, blockBytes + sizeBytes);
}

function header(name: string, sizeBytes: number, mode: number, linkTo?: string): Buffer {
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0, 100);
  block.write(octal(mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(sizeBytes, 11), 124);
  block.write(octal(0, 11), 136);
  block.write('        ', 148);
  block.write(linkTo === undefined ? '0' : '2', 156);
  if (linkTo !== undefined) block.write(linkTo, 157, 100);
  block.write('ustar\u{0}00', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148);
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

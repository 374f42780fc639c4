import { blockBytes, checksumOf, sizeAt } from './tar-block.ts';

const encoder = new TextEncoder();

/**
 * The header of a plain file in a POSIX tar (ustar): owner 0, mode 0644, time 0, so that equal content
 * gives equal archives. A name above 100 bytes or a size above 8 GiB goes into a pax record before it.
 */
export function tarHeader(name: string, sizeBytes: number): Uint8Array {
  const nameBytes = encoder.encode(name);
  const isPlain = nameBytes.length <= sizeAt.name && sizeBytes <= plainSizeBytesMax;
  if (isPlain) return block(nameBytes, sizeBytes, '0');
  const records = encoder.encode(paxRecord('path', name) + paxRecord('size', String(sizeBytes)));
  return join([
    block(encoder.encode('pax'), records.length, 'x'),
    records,
    tarPadding(records.length),
    block(nameBytes.subarray(0, sizeAt.name), Math.min(sizeBytes, plainSizeBytesMax), '0'),
  ]);
}

/** What follows a file's content, up to the next block. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((blockBytes - (sizeBytes % blockBytes)) % blockBytes);
}

/** The end of an archive. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * blockBytes);
}

/** Bytes that a file takes in an archive. */
export function tarBytesOf(name: string, sizeBytes: number): number {
  return tarHeader(name, sizeBytes).length + sizeBytes + tarPadding(sizeBytes).length;
}

/** Eleven octal digits. */
const plainSizeBytesMax = 0o77777777777;

function block(name: Uint8Array, sizeBytes: number, type: string): Uint8Array {
  const bytes = new Uint8Array(blockBytes);
  const put = (text: string, at: number): void => bytes.set(encoder.encode(text), at);
  bytes.set(name, 0);
  put('0000644\0', 100);
  put('0000000\0', 108);
  put('0000000\0', 116);
  put(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124);
  put('00000000000\0', 136);
  put(type, 156);
  put('ustar\0', 257);
  put('00', 263);
  put(`${checksumOf(bytes).toString(8).padStart(6, '0')}\0 `, 148);
  return bytes;
}

/** `<length> <key>=<value>\n`, whose length counts its own digits; POSIX pax, «Extended Header». */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const restBytes = encoder.encode(rest).length;
  let length = restBytes;
  while (length !== restBytes + String(length).length) length = restBytes + String(length).length;
  return `${length}${rest}`;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

import { blockBytes, checksumOf } from './tar-block.ts';

/** A member of an archive. Read its content before the next one is asked for; what is left is skipped. */
export interface TarEntry {
  readonly name: string;
  readonly sizeBytes: number;
  /** Links, devices and folders are `other`: nothing of them is ever followed. */
  readonly type: 'file' | 'other';
  readonly content: AsyncIterable<Uint8Array>;
}

/** An archive cannot be read on; the message says why. */
export class TarError extends Error {
  override readonly name = 'TarError';
}

/** More than any image archive has; bounds what a hostile one can make us do. */
const entriesMax = 1_000_000;

/** Of a long name or a pax header. */
const extensionBytesMax = 1024 * 1024;

const decoder = new TextDecoder();

/**
 * The members of a tar, in the order in which they come: ustar, with pax and GNU long names and sizes.
 * @throws TarError when it ends too early or is none
 */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry, void> {
  const bytes = new ByteSource(source);
  let next: { path?: string; size?: number } = {};
  for (let entries = 0; ; entries += 1) {
    if (entries > entriesMax) throw new TarError(`the archive has more than ${entriesMax} members`);
    const header = await bytes.take(blockBytes, entries === 0);
    if (header === undefined || header.every((byte) => byte === 0)) {
      // What follows the end is padding of the medium; whoever sends it is read to the end.
      await bytes.drain();
      return;
    }
    if (numberAt(header, 148, 8) !== checksumOf(header)) {
      throw new TarError('this is no tar archive, or it is damaged: a header has a wrong checksum');
    }
    const type = String.fromCharCode(header[156] ?? 0);
    const sizeBytes = next.size ?? numberAt(header, 124, 12);
    const paddedBytes = Math.ceil(sizeBytes / blockBytes) * blockBytes;
    if (type === 'x' || type === 'L') {
      if (sizeBytes > extensionBytesMax) throw new TarError('a header of the archive is too large');
      const padded = await bytes.take(paddedBytes, false);
      const text = padded?.subarray(0, sizeBytes) ?? new Uint8Array();
      next = type === 'L' ? { ...next, path: textOf(text) } : { ...next, ...paxOf(text) };
      continue;
    }
    const content = bytes.part(sizeBytes);
    if (type !== 'g') {
      const isFile = type === '0' || type === '\0' || type === '7';
      yield {
        name: next.path ?? nameOf(header),
        sizeBytes,
        type: isFile ? 'file' : 'other',
        content,
      };
      next = {};
    }
    for await (const _ of content);
    await bytes.take(paddedBytes - sizeBytes, false);
  }
}

/** Chunks of any size, taken by number. */
class ByteSource {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** @returns undefined at the end, where that is allowed. @throws TarError */
  async take(count: number, mayEnd: boolean): Promise<Uint8Array | undefined> {
    const whole = new Uint8Array(count);
    let filled = 0;
    for await (const chunk of this.part(count, mayEnd)) {
      whole.set(chunk, filled);
      filled += chunk.length;
    }
    return filled === count ? whole : undefined;
  }

  /** The next so many bytes; what was read of them stays read. */
  part(count: number, mayEnd: boolean = false): AsyncIterable<Uint8Array> {
    let left = count;
    const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      if (left === 0) return { done: true, value: undefined };
      while (this.#rest.length === 0) {
        const { value, done } = await this.#source.next();
        if (done !== true) this.#rest = value;
        else if (mayEnd && left === count) return { done: true, value: undefined };
        else throw new TarError('the archive ends too early');
      }
      const value = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(value.length);
      left -= value.length;
      return { done: false, value };
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  async drain(): Promise<void> {
    for (;;) {
      const { done } = await this.#source.next();
      if (done === true) return;
    }
  }
}

function nameOf(header: Uint8Array): string {
  const name = textOf(header.subarray(0, 100));
  const isUstar = textOf(header.subarray(257, 262)) === 'ustar';
  const prefix = isUstar ? textOf(header.subarray(345, 500)) : '';
  // GNU tar has other fields there, and says so by a blank after «ustar».
  return prefix === '' || header[262] === 32 ? name : `${prefix}/${name}`;
}

/** Octal digits, or base 256 when the first bit is set, as GNU tar writes large sizes. */
function numberAt(header: Uint8Array, at: number, length: number): number {
  const field = header.subarray(at, at + length);
  if (((field[0] ?? 0) & 0x80) === 0) {
    const text = textOf(field).trim();
    const value = text === '' ? 0 : /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : NaN;
    if (Number.isSafeInteger(value)) return value;
  } else {
    let value = (field[0] ?? 0) & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (Number.isSafeInteger(value)) return value;
  }
  throw new TarError('this is no tar archive, or it is damaged: a number in a header is none');
}

function paxOf(bytes: Uint8Array): { path?: string; size?: number } {
  const found: { path?: string; size?: number } = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at);
    const length = Number(decoder.decode(bytes.subarray(at, space)));
    if (space === -1 || !Number.isSafeInteger(length) || length <= space - at) {
      throw new TarError('the archive is damaged: a pax header is malformed');
    }
    const record = decoder.decode(bytes.subarray(space + 1, at + length - 1));
    const equals = record.indexOf('=');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === 'path') found.path = value;
    if (key === 'size') {
      const size = Number(value);
      if (!Number.isSafeInteger(size) || size < 0)
        throw new TarError('a size in the archive is none');
      found.size = size;
    }
    at += length;
  }
  return found;
}

/** Up to the first NUL. */
function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end === -1 ? bytes : bytes.subarray(0, end));
}

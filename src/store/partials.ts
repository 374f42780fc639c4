import fs from 'node:fs';
import path from 'node:path';
import type { ByteRange } from '../base/intervals.ts';
import { Intervals } from '../base/intervals.ts';
import { findDigest, type Digest } from '../oci/digest.ts';
import { chunkBytes } from './chunk-cache.ts';
import type { Disk } from './disk.ts';
import type { PartialFile } from './partial-file.ts';
import type { Reservation, Space } from './space.ts';

/** With less than this on the disk, a download begins anew. */
const worthBytes = 8 * 1024 * 1024;

/** Partials that are kept for whoever asks again; the others are thrown away. */
const partialsMax = 64;

/** What nobody has asked for within this time of its last byte is thrown away. */
const maxAgeMs = 24 * 3_600_000;

/** One that upstream broke off in this process waits so long for the next attempt. */
const setAsideMs = 3_600_000;

/** Longer than the record of any blob: an interval is some 30 bytes, and there are a few dozen. */
const recordBytesMax = 64 * 1024;

/** What is known of a growing file, beside it: enough to go on after a crash. */
export interface PartialRecord {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** What was synced to the disk before this was written. */
  readonly filled: readonly ByteRange[];
}

/** A growing file that was left, and the space that it has. */
export interface Partial extends PartialRecord {
  readonly path: string;
  readonly reservation: Reservation;
  /** When this process set it aside, by the monotonic clock; undefined for one of an earlier process. */
  readonly sinceMs?: number;
}

/** Beside the data, as JSON. */
export function recordPathOf(partial: string): string {
  return `${partial}.json`;
}

/** Writes the record beside a growing file, whole or not at all. */
export async function writeRecord(
  disk: Disk,
  partial: string,
  record: PartialRecord,
): Promise<void> {
  const file = recordPathOf(partial);
  const fresh = `${file}.new`;
  try {
    const written = await disk.open(fresh, 'wx+');
    try {
      await written.write(Buffer.from(JSON.stringify(record)), 0);
    } finally {
      await written.close();
    }
    await disk.rename(fresh, file);
  } catch (error) {
    // The next one begins anew, and finds its place free.
    await disk.unlink(fresh).catch(() => {});
    throw error;
  }
}

/**
 * Downloads that an earlier process left unfinished, or upstream broke off, and that are worth going on
 * with, in `<folder>/partials/<n>`, which is empty when the process begins. Nothing in them is trusted:
 * the digest of the whole decides.
 */
export class Partials {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #space: Space;
  readonly #kept = new Map<Digest, Partial>();
  #lastName = 0;

  constructor(parts: { readonly folder: string; readonly disk: Disk; readonly space: Space }) {
    this.#folder = path.join(parts.folder, 'partials');
    this.#disk = parts.disk;
    this.#space = parts.space;
  }

  /** From the first gap of one that is kept to its end. */
  missing(digest: Digest): ByteRange | undefined {
    const partial = this.#kept.get(digest);
    const first = partial?.filled[0];
    if (partial === undefined || first === undefined) return undefined;
    return { start: first.start === 0 ? first.end : 0, end: partial.sizeBytes };
  }

  /**
   * Takes over a download that upstream broke off.
   * @returns false, with nothing done, when it is not worth it or there is no place
   */
  async setAside(partial: PartialFile, record: PartialRecord, nowMs: number): Promise<boolean> {
    await this.#dropOld(nowMs);
    const { digest, filled } = record;
    const isWorthIt = bytesOf(filled) >= worthBytes && this.#kept.size < partialsMax;
    if (!isWorthIt || this.#kept.has(digest)) return false;
    const isOurs = path.dirname(partial.path) === this.#folder;
    const target = isOurs ? partial.path : this.#newPath();
    await this.#disk.makeFolder(this.#folder);
    await partial.moveTo(target, record);
    const older = this.#kept.get(digest);
    this.#kept.set(digest, {
      ...record,
      path: target,
      reservation: partial.reservation,
      sinceMs: nowMs,
    });
    // One of an earlier process that was found meanwhile.
    if (older !== undefined) await this.discard(older);
    return true;
  }

  /** Hands one over, for going on with it; of another size than expected it is thrown away. */
  async take(digest: Digest, sizeBytes: number | undefined): Promise<Partial | undefined> {
    const partial = this.#kept.get(digest);
    if (partial === undefined) return undefined;
    this.#kept.delete(digest);
    if (partial.sizeBytes === sizeBytes) return partial;
    await this.discard(partial);
    return undefined;
  }

  async discard({ path: file, reservation }: Partial): Promise<void> {
    await Promise.allSettled([this.#disk.unlink(recordPathOf(file)), this.#disk.unlink(file)]);
    reservation.settle();
  }

  /** Makes room: whether there was something to throw away. */
  async discardAll(): Promise<boolean> {
    const partials = [...this.#kept.values()];
    this.#kept.clear();
    await Promise.all(partials.map((partial) => this.discard(partial)));
    return partials.length > 0;
  }

  /**
   * Takes over what is worth it from the folders of earlier processes, and empties them.
   * @param isStored whether a blob is here already
   */
  async recover(
    folders: readonly string[],
    nowMs: number,
    isStored: (digest: Digest) => Promise<boolean>,
  ): Promise<{ resumable: number; removed: number }> {
    let resumable = 0;
    let removed = 0;
    for (const folder of folders) {
      const names: string[] = await fs.promises.readdir(folder).catch(() => []);
      for (const name of names) {
        // What is known of a file goes with it.
        if (/\.json(?:\.new)?$/.test(name)) continue;
        const file = path.join(folder, name);
        const record = await readRecord(file, nowMs);
        const isKept =
          record !== undefined &&
          this.#kept.size < partialsMax &&
          !this.#kept.has(record.digest) &&
          !(await isStored(record.digest)) &&
          (await this.#keep(file, record));
        if (isKept) resumable += 1;
        else {
          removed += 1;
          await remove(file);
        }
      }
      await fs.promises.rm(folder, { recursive: true, force: true }).catch(() => {});
    }
    return { resumable, removed };
  }

  /** Of its own each: another one of the same digest may be growing there. */
  #newPath(): string {
    this.#lastName += 1;
    return path.join(this.#folder, String(this.#lastName));
  }

  /** Nobody came back for them while the process ran; their space is for others. */
  async #dropOld(nowMs: number): Promise<void> {
    for (const [digest, partial] of this.#kept) {
      if (partial.sinceMs === undefined || nowMs - partial.sinceMs < setAsideMs) continue;
      this.#kept.delete(digest);
      await this.discard(partial);
    }
  }

  async #keep(file: string, record: PartialRecord): Promise<boolean> {
    const { digest, sizeBytes, filled } = record;
    const target = this.#newPath();
    const onDiskBytes = bytesOf(filled);
    let reservation: Reservation | undefined;
    try {
      reservation = await this.#space.reserve(sizeBytes, onDiskBytes);
      await this.#disk.makeFolder(this.#folder);
      await this.#disk.rename(file, target);
      await this.#disk.rename(recordPathOf(file), recordPathOf(target));
      if (this.#kept.has(digest)) throw new Error('one was set aside meanwhile');
    } catch {
      // Or too little space, or a disk that refuses: it is fetched anew.
      reservation?.settle();
      await remove(target);
      return false;
    }
    this.#kept.set(digest, { ...record, path: target, reservation });
    return true;
  }
}

function bytesOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** What a growing file says about itself; undefined when it is not worth going on with. */
async function readRecord(file: string, nowMs: number): Promise<PartialRecord | undefined> {
  try {
    const [stat, recordStat] = await Promise.all([
      fs.promises.lstat(file),
      fs.promises.lstat(recordPathOf(file)),
    ]);
    if (!stat.isFile() || !recordStat.isFile() || recordStat.size > recordBytesMax)
      return undefined;
    if (nowMs - stat.mtimeMs > maxAgeMs) return undefined;
    const record = parseRecord(await fs.promises.readFile(recordPathOf(file), 'utf8'));
    if (record === undefined) return undefined;
    const end = record.filled.at(-1)?.end ?? 0;
    return end <= stat.size ? record : undefined;
  } catch {
    return undefined;
  }
}

function parseRecord(text: string): PartialRecord | undefined {
  const { digest: name, sizeBytes, filled: ranges } = JSON.parse(text) as Record<string, unknown>;
  const digest = typeof name === 'string' ? findDigest(name) : undefined;
  if (digest === undefined || !Number.isSafeInteger(sizeBytes) || !Array.isArray(ranges)) {
    return undefined;
  }
  const size = Number(sizeBytes);
  const filled = new Intervals();
  for (const { start, end } of ranges as ByteRange[]) {
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end)) return undefined;
    if (start < 0 || end > size) return undefined;
    filled.add(start, end);
  }
  // The end always comes from upstream: so there is an answer that says whether we may have it.
  filled.remove(Math.max(0, size - chunkBytes), size);
  return filled.totalBytes() >= worthBytes
    ? { digest, sizeBytes: size, filled: filled.toArray() }
    : undefined;
}

async function remove(file: string): Promise<void> {
  await fs.promises.rm(file, { force: true }).catch(() => {});
  await fs.promises.rm(recordPathOf(file), { force: true }).catch(() => {});
}

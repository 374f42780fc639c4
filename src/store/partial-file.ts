import type { Clock } from '../base/clock.ts';
import type { Intervals } from '../base/intervals.ts';
import type { Digest } from '../oci/digest.ts';
import type { Disk, DiskFile } from './disk.ts';
import { recordPathOf, writeRecord, type PartialRecord } from './partials.ts';
import type { Reservation } from './space.ts';

/** A smaller blob is fetched anew after a crash. */
const recordedBytesMin = 16 * 1024 * 1024;

/** A crash costs this much of a download, or what comes within `recordEveryMs`, whichever is more. */
const recordEveryBytes = 8 * 1024 * 1024;
const recordEveryMs = 250;

/** The file that an ingest grows, the space that it has, and the record by which it outlives a crash. */
export class PartialFile {
  readonly path: string;
  readonly file: DiskFile;
  readonly reservation: Reservation;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #digest: Digest;
  #hasRecord: boolean;
  #unrecordedBytes = 0;
  #recordedMs: number;
  #isRecording = false;

  constructor(parts: {
    readonly path: string;
    readonly file: DiskFile;
    readonly reservation: Reservation;
    readonly disk: Disk;
    readonly clock: Clock;
    readonly digest: Digest;
    readonly hasRecord: boolean;
  }) {
    this.path = parts.path;
    this.file = parts.file;
    this.reservation = parts.reservation;
    this.#disk = parts.disk;
    this.#clock = parts.clock;
    this.#digest = parts.digest;
    this.#hasRecord = parts.hasRecord;
    this.#recordedMs = parts.clock.monotonicMs();
  }

  /**
   * So many more bytes are written. Answers a promise when that is worth recording now; it rejects
   * when the disk could not sync, after which nothing that was written can be trusted.
   */
  wrote(
    bytes: number,
    sizeBytes: number | undefined,
    written: Intervals,
  ): Promise<void> | undefined {
    this.reservation.wrote(bytes);
    this.#unrecordedBytes += bytes;
    if (sizeBytes === undefined || sizeBytes < recordedBytesMin) return undefined;
    if (this.#unrecordedBytes < recordEveryBytes || this.#isRecording) return undefined;
    if (this.#clock.monotonicMs() - this.#recordedMs < recordEveryMs) return undefined;
    return this.#record(sizeBytes, written);
  }

  /** Gives it its final name; the caller has synced it. */
  async publish(target: string): Promise<void> {
    await this.#disk.rename(this.path, target);
    if (this.#hasRecord) await this.#disk.unlink(recordPathOf(this.path)).catch(() => {});
  }

  /** Moves it to where it waits for the next attempt, with what is known of it. */
  async moveTo(target: string, record: PartialRecord): Promise<void> {
    await this.file.datasync();
    await writeRecord(this.#disk, target, record);
    if (this.path !== target) {
      await this.#disk.rename(this.path, target);
      if (this.#hasRecord) await this.#disk.unlink(recordPathOf(this.path)).catch(() => {});
    }
    this.#hasRecord = true;
  }

  /** Throws it away and gives back its space; what cannot be removed is counted until the next start. */
  async discard(): Promise<void> {
    if (this.#hasRecord) await this.#disk.unlink(recordPathOf(this.path)).catch(() => {});
    try {
      await this.#disk.unlink(this.path);
      this.reservation.settle();
    } catch (error) {
      // Somebody else has removed it.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') this.reservation.settle();
      else this.reservation.keepWritten();
    }
  }

  async #record(sizeBytes: number, written: Intervals): Promise<void> {
    this.#isRecording = true;
    this.#unrecordedBytes = 0;
    // What is written before the sync begins is what the sync makes last.
    const filled = written.toArray();
    try {
      await this.file.datasync();
      this.#hasRecord = true;
      const record = { digest: this.#digest, sizeBytes, filled };
      await writeRecord(this.#disk, this.path, record).catch(() => {});
    } finally {
      this.#recordedMs = this.#clock.monotonicMs();
      this.#isRecording = false;
    }
  }
}

import type { Observe } from '../../base/events.ts';
import { algorithmOf, encodedOf, type Digest } from '../../oci/digest.ts';
import type { Disk, DiskFile } from '../disk.ts';
import { pathOfBlob } from '../folder/layout.ts';
import { hashFile, type Hashing } from '../hashing.ts';
import type { OpenFile } from '../open-file.ts';
import type { Checksums, ChecksumTable } from './checksums.ts';
import type { Quarantine } from './quarantine.ts';

/** Without checksums, what is as small as this is read and verified before it is served. */
const verifiedAtOnceBytes = 1024 * 1024;

/** What a look at a whole blob found. */
export type Verdict = 'sound' | 'wrong' | 'gone';

/** Told how many bytes are read next; resolves when they may be. */
export type Pace = (sizeBytes: number) => Promise<void>;

/**
 * Whether files are still what was committed:
 *
 *   commit ──record──▶ size and checksums
 *   open   ──inspect──▶ the size is compared always; each chunk as it is read, unless that is off
 *   scrub  ──verify──▶ the whole against its digest
 *   wrong  ──condemn──▶ quarantine; who asks next finds nothing here, and upstream is asked
 */
export class Verifier {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #hashing: Hashing;
  readonly #table: ChecksumTable;
  readonly #quarantine: Quarantine;
  readonly #checksReads: boolean;
  readonly #observe: Observe;
  readonly #condemning = new Map<Digest, Promise<void>>();
  /** Told before a file goes to the quarantine: from then on nobody may find it. */
  onCondemned: (digest: Digest) => void = () => {};

  constructor(parts: {
    readonly folder: string;
    readonly disk: Disk;
    readonly hashing: Hashing;
    readonly table: ChecksumTable;
    readonly quarantine: Quarantine;
    /** Whether what is read of a file is compared with its checksums. */
    readonly checksReads: boolean;
    readonly observe: Observe;
  }) {
    this.#folder = parts.folder;
    this.#disk = parts.disk;
    this.#hashing = parts.hashing;
    this.#table = parts.table;
    this.#quarantine = parts.quarantine;
    this.#checksReads = parts.checksReads;
    this.#observe = parts.observe;
  }

  /** What the quarantine takes of the disk. */
  get heldBytes(): number {
    return this.#quarantine.usedBytes;
  }

  record(digest: Digest, checksums: Checksums): Promise<void> {
    return this.#table.put(digest, checksums);
  }

  /**
   * Looks at a file of that size that is about to be served. False: it is not what was committed, and
   * is condemned.
   */
  async inspect(digest: Digest, sizeBytes: number, open: OpenFile): Promise<boolean> {
    let checksums = await this.#table.find(digest);
    if (checksums === undefined && sizeBytes <= verifiedAtOnceBytes) {
      if ((await this.verify(digest, atOnce)) !== 'sound') return false;
      checksums = await this.#table.find(digest);
    }
    if (checksums === undefined) return true;
    if (checksums.sizeBytes !== sizeBytes) {
      await this.condemn(digest, `its size is ${sizeBytes}, not ${checksums.sizeBytes} bytes`);
      return false;
    }
    this.checkReadsOf(open, checksums);
    return true;
  }

  /** From now on what is read of this file is compared, unless that is off. */
  checkReadsOf(open: OpenFile, checksums: Checksums): void {
    if (this.#checksReads) open.checkBy(checksums);
  }

  /**
   * Reads all of a blob from the disk and compares it with its digest; what is wrong is condemned.
   * @throws Node's own error when the disk fails
   */
  async verify(digest: Digest, pace: Pace): Promise<Verdict> {
    await this.settled(digest);
    let file: DiskFile | undefined;
    try {
      file = await this.#disk.open(pathOfBlob(this.#folder, digest), 'r');
      const { sizeBytes, inode } = await file.stat();
      const run = this.#hashing.start(algorithmOf(digest), file.fd);
      const { hex, crcs } = await hashFile(run, { sizeBytes, pace });
      if (hex === encodedOf(digest)) {
        await this.record(digest, { sizeBytes, crcs });
        return 'sound';
      }
      // Somebody may have found out earlier, and have fetched it anew.
      if (!(await this.#isInPlace(digest, inode))) return await this.verify(digest, pace);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'gone';
      throw error;
    } finally {
      await file?.close().catch(() => {});
    }
    await this.condemn(digest, 'its digest is another one');
    return 'wrong';
  }

  async #isInPlace(digest: Digest, inode: number): Promise<boolean> {
    await this.settled(digest);
    const file = await this.#disk.open(pathOfBlob(this.#folder, digest), 'r');
    try {
      return (await file.stat()).inode === inode;
    } finally {
      await file.close().catch(() => {});
    }
  }

  /** Takes a wrong file out of everybody's sight, and says so. One that is gone already is no matter. */
  condemn(digest: Digest, why: string): Promise<void> {
    const running = this.#condemning.get(digest);
    if (running !== undefined) return running;
    this.onCondemned(digest);
    this.#observe({ kind: 'content-corrupt', digest, message: why });
    const condemning = this.#quarantine
      .take(digest, pathOfBlob(this.#folder, digest))
      .catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return;
        this.#observe({ kind: 'store-failed', operation: 'quarantine', message: error.message });
      })
      .finally(() => this.#condemning.delete(digest));
    this.#condemning.set(digest, condemning);
    return condemning;
  }

  /** Ends when no file of that digest is on its way to the quarantine. */
  async settled(digest: Digest): Promise<void> {
    await this.#condemning.get(digest);
  }

  /** Forgets the checksums of what is not stored any more. @returns how many */
  prune(isStored: (digest: Digest) => Promise<boolean>): Promise<number> {
    return this.#table.prune(isStored);
  }

  async close(): Promise<void> {
    await Promise.all(this.#condemning.values());
    await this.#table.close();
  }
}

function atOnce(): Promise<void> {
  return Promise.resolve();
}

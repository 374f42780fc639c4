import assert from 'node:assert/strict';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Event } from '../../src/base/events.ts';
import type { Reader } from '../../src/base/reader.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { ChunkCache } from '../../src/store/chunk-cache.ts';
import type { DiskBlobStore } from '../../src/store/disk-blob-store.ts';
import { systemDisk, type Disk, type DiskFile } from '../../src/store/disk.ts';
import { Hashing } from '../../src/store/hashing.ts';
import type { Ingest } from '../../src/store/ingest.ts';
import type { EvictionPolicy } from '../../src/store/eviction/eviction.ts';
import { openStorage, type StorageFolder } from '../../src/store/open-store.ts';
import type { DiskBudget } from '../../src/store/space.ts';
import { systemClock, type Clock } from '../../src/base/clock.ts';
import { sha256 } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;

/** A store on a disk of its own, counted and ready. */
export interface TestStore extends AsyncDisposable {
  readonly store: DiskBlobStore;
  /** Where `blobs` and `tmp` are. */
  readonly folder: string;
  observedOf<K extends Event['kind']>(kind: K): EventOf<K>[];
  /** Every file and link below the folder, without the folders themselves and the databases; sorted. */
  files(): Promise<string[]>;
  /** Opens the folder as it lies there now, as after a crash: a copy of it, for the lock is held. */
  reopen(): Promise<void>;
  /** Closes the store as it should be, and opens the folder again. */
  restart(): Promise<void>;
}

export interface TestStoreOptions {
  readonly budget?: Partial<DiskBudget>;
  readonly disk?: Disk;
  readonly checksReads?: boolean;
  /** Memory for chunks, in bytes. */
  readonly cacheBytes?: number;
  readonly clock?: Clock;
  /** A temporary one unless told. */
  readonly storagePath?: string;
  readonly eviction?: EvictionPolicy;
}

export async function openTestStore(options: TestStoreOptions = {}): Promise<TestStore> {
  const folders = [await temporaryFolder()];
  const hashing = new Hashing(2);
  const events: Event[] = [];
  const open = async (): Promise<StorageFolder> => {
    const opened = await openStorage({
      storagePath: options.storagePath ?? folders.at(-1)!.path,
      disk: options.disk ?? systemDisk,
      cache: new ChunkCache(options.cacheBytes),
      hashing,
      checksReads: options.checksReads ?? true,
      clock: options.clock ?? systemClock,
      budget: { maxBytes: 0, minFreeBytes: () => 0, lowWatermark: 1, ...options.budget },
      eviction: options.eviction ?? 'lru',
      observe: (event) => events.push(event),
    });
    await opened.ready;
    return opened;
  };
  const opened = [await open()];
  const latest = (): StorageFolder => opened.at(-1)!;
  return {
    get store() {
      return latest().store;
    },
    get folder() {
      return latest().folder;
    },
    observedOf: <K extends Event['kind']>(kind: K) =>
      events.filter((event): event is EventOf<K> => event.kind === kind),
    files: async () => {
      const { folder } = latest();
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => !entry.isDirectory() && !isDatabase(entry.name))
        .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1))
        .sort();
    },
    reopen: async () => {
      const copy = await temporaryFolder();
      await cp(folders.at(-1)!.path, copy.path, {
        recursive: true,
        verbatimSymlinks: true,
        preserveTimestamps: true,
        filter: (path) => !path.endsWith('-shm'),
      });
      folders.push(copy);
      opened.push(await open());
    },
    restart: async () => {
      await opened.pop()?.close();
      opened.push(await open());
    },
    [Symbol.asyncDispose]: async () => {
      for (const storage of opened) await storage.close();
      await hashing.close();
      for (const folder of folders) await folder[Symbol.asyncDispose]();
    },
  };
}

/** A file of the disk; `closed` is called after its close, and what it throws is the close's error. */
export function tellingClose(file: DiskFile, closed: () => void): DiskFile {
  return {
    fd: file.fd,
    read: (buffer, position) => file.read(buffer, position),
    write: (bytes, position) => file.write(bytes, position),
    datasync: () => file.datasync(),
    stat: () => file.stat(),
    close: async () => {
      await file.close();
      closed();
    },
  };
}

function isDatabase(name: string): boolean {
  return name === 'lock' || /^(?:recency|checksums)\.db/.test(name);
}

/** All that a reader brings; the reader is closed. */
export async function drain(reader: Reader): Promise<Buffer> {
  const pieces: Buffer[] = [];
  try {
    for (let lease = await reader.next(); lease !== undefined; lease = await reader.next()) {
      pieces.push(Buffer.from(lease.bytes));
      lease.release();
    }
    return Buffer.concat(pieces);
  } finally {
    reader.close();
  }
}

/** What a reader brings until it fails or ends, and how it failed. */
export async function drainUntilFailure(
  reader: Reader,
): Promise<{ bytes: Buffer; failure: unknown }> {
  const pieces: Buffer[] = [];
  const keeping: Reader = {
    next: async () => {
      const lease = await reader.next();
      if (lease !== undefined) pieces.push(Buffer.from(lease.bytes));
      return lease;
    },
    close: () => reader.close(),
  };
  const failure = await drain(keeping).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { bytes: Buffer.concat(pieces), failure };
}

/** Writes `bytes` at `start`, in pieces of an odd size. */
export async function write(ingest: Ingest, start: number, bytes: Uint8Array): Promise<void> {
  const pieceBytes = 70_001;
  const writer = ingest.writer(start);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    await writer.append(bytes.subarray(at, at + pieceBytes));
  }
  await writer.end();
}

/** Brings a blob into the store, whole. */
export async function put(
  store: DiskBlobStore,
  { digest, bytes }: { digest: Digest; bytes: Uint8Array },
): Promise<void> {
  const ingest = await store.ingest(digest, bytes.length);
  await write(ingest, 0, bytes);
  await ingest.complete();
  await ingest.committed;
}

/** The bytes that are stored under a digest. */
export async function take(store: DiskBlobStore, digest: Digest): Promise<Buffer | undefined> {
  const blob = await store.find(digest);
  if (blob === undefined) return undefined;
  try {
    return await drain(blob.read({ start: 0, end: blob.sizeBytes }));
  } finally {
    blob.close();
  }
}

/** Resolves with the position at which the next reader of this ingest begins to wait. */
export function nextWait(ingest: Ingest): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  ingest.onWaiting = resolve;
  return promise;
}

/** Compared by length and digest, so that a failure is two lines and not a megabyte. */
export function assertSame(actual: Uint8Array | undefined, expected: Uint8Array): void {
  assert.equal(actual?.length, expected.length);
  assert.equal(sha256(actual), sha256(expected));
}

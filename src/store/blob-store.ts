import type { ByteRange } from '../base/intervals.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Content } from './content.ts';
import type { Ingest } from './ingest.ts';

/** Content by digest. One copy, whoever asked for it. No code outside `store/` knows that it is files. */
export interface BlobStore {
  /** What is committed under this digest. Close what it answers: it keeps the content readable. */
  find(digest: Digest): Promise<StoredBlob | undefined>;
  /** As `find`, for who looks after the cache: it does not count as a use. */
  peek(digest: Digest): Promise<StoredBlob | undefined>;
  /** Whether it is there, without opening it. */
  has(digest: Digest): Promise<boolean>;
  /**
   * Begins to store content; its space is reserved first.
   * @param sizeBytes undefined while upstream has not said
   * @throws MirrorError DISK_FAILED when there is no space for it or the disk refuses
   */
  ingest(digest: Digest, sizeBytes: number | undefined): Promise<Ingest>;
  remove(digest: Digest): Promise<void>;
  /** It was used without being read here: it goes later. */
  touch(digest: Digest): void;
  /**
   * What is missing of a blob that an earlier process left unfinished, from the first gap to its end,
   * when the rest is worth going on with: the next `ingest` of it, with that size, has it filled.
   */
  resumable(digest: Digest): ByteRange | undefined;
  /**
   * When it was last used, by the wall clock in milliseconds; undefined for what is not stored, or not
   * known before the store is counted.
   */
  usedMs(digest: Digest): number | undefined;
  /** Everything that is committed, in no order, as the disk has it. */
  walk(): AsyncIterable<WalkedBlob>;
}

/** A committed blob; `usedMs` is its last use, by the wall clock. */
export interface WalkedBlob extends Pick<Descriptor, 'digest' | 'size'> {
  readonly usedMs: number;
}

/** How full a store is, in bytes. */
export interface StoreUsage {
  readonly usedBytes: number;
  /** For what is arriving. */
  readonly reservedBytes: number;
  /** 0: no limit but the disk's. */
  readonly maxBytes: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly blobs: number;
  /** False while the store is still being counted after the start. */
  readonly isCounted: boolean;
  readonly tiers: readonly TierUsage[];
}

/** What content of one range of sizes takes: the small (below 1 MiB) have a share of their own. */
export interface TierUsage {
  readonly name: 'small' | 'large';
  readonly usedBytes: number;
  /** What it may keep whatever the other one needs; 0: no limit but the disk's. */
  readonly maxBytes: number;
  readonly blobs: number;
}

/** Committed content, open for reading until `close`. */
export interface StoredBlob extends Content {
  close(): void;
}

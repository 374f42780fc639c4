import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import type { ByteRange } from '../../base/intervals.ts';
import type { Pace } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { MirrorError } from '../../oci/errors.ts';
import { isForeign, parseManifest } from '../../oci/manifest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Names } from '../../store/names.ts';
import type { PushTarget } from '../../upstream/push/push-target.ts';
import type { Wait } from '../../upstream/upstream.ts';
import type { Manifests } from '../manifests.ts';
import type { Prewarm } from '../prewarm/prewarm.ts';
import type { TimeWindow } from '../prewarm/window.ts';
import { pause } from '../retry.ts';
import { selectTags, type TagSelection } from '../select/tags.ts';
import type { Deliveries, Subject } from './deliveries.ts';
import { onlyImages } from './only-images.ts';
import { repositoryMatcher, type Difference } from './sync.ts';

/** What one rule sends to another registry. */
export interface PushRule {
  readonly name: string;
  /** Globs of `registry/name`, as it is here. */
  readonly repositories: readonly string[];
  readonly tags: TagSelection;
  /** None: all of an index. Else an index of these alone is sent, under a digest of its own. */
  readonly platforms: readonly string[];
  readonly referrers: boolean;
  /** Of the bytes that are sent. */
  readonly bandwidth: Pace | undefined;
  readonly window: TimeWindow | undefined;
  /** The name there. */
  readonly nameThere: (repository: Repository) => string;
}

export interface PushParts {
  readonly names: Names;
  readonly store: BlobStore;
  readonly manifests: Manifests;
  readonly prewarm: Prewarm;
}

/** Blobs of one image at a time. */
const blobsAtOnce = 3;

/** Attempts for one blob, and the wait before the second; it grows four times. */
const attemptsMax = 4;
const backOffMs = 500;

/** Where blobs are at the target, so that another repository can show them without a transfer. */
const knownPlacesMax = 10_000;

interface Shipment {
  /** Below the top, in the order in which they are sent. */
  readonly children: readonly Manifest[];
  readonly top: Manifest;
  readonly blobs: readonly Descriptor[];
}

interface Manifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** Sends what a rule selects by the push protocol: blobs, then manifests, then the tag; skips what is there. */
export class Push {
  readonly #parts: PushParts;
  readonly #places = new LRUCache<string, string>({ max: knownPlacesMax });

  constructor(parts: PushParts) {
    this.#parts = parts;
  }

  /** @param only what has become whole here, or what failed before; undefined: all that is selected */
  async run(
    rule: PushRule,
    target: PushTarget,
    deliveries: Deliveries,
    work: Work,
    only?: readonly Subject[],
  ): Promise<void> {
    const isNamed = (repository: Repository, tag: string): boolean =>
      only === undefined ||
      only.some((one) => isSame(one.repository, repository) && (one.tag ?? tag) === tag);
    const done = new Set(only);
    try {
      for await (const image of this.#selected(rule, isNamed)) {
        const { repository, tag } = image;
        work.signal.throwIfAborted();
        work.advance({ imagesTotal: 1 });
        try {
          await this.#send(rule, target, image, deliveries, work);
          work.advance({ imagesDone: 1 });
          if (!work.isDryRun) deliveries.delivered({ repository, tag });
        } catch (error) {
          work.signal.throwIfAborted();
          work.fail(`${repositoryKey(repository)}:${tag}`, error);
          if (!work.isDryRun) deliveries.failed({ repository, tag }, error);
          for (const one of done) {
            if (isSame(one.repository, repository) && one.tag === tag) done.delete(one);
          }
        }
      }
      // What was named and is not here any more is not owed either.
      if (!work.isDryRun) for (const one of done) deliveries.delivered(one);
    } finally {
      await deliveries.save();
    }
  }

  /** What is here and not, or otherwise, at the target. */
  async *differences(
    rule: PushRule,
    target: PushTarget,
    signal: AbortSignal,
  ): AsyncGenerator<Difference, void> {
    for await (const { repository, tag, digest } of this.#selected(rule, () => true)) {
      const top = await this.#topOf(rule, repository, digest);
      const there = await target.resolve(rule.nameThere(repository), tag, waitOf(signal));
      const here = top?.digest ?? digest;
      if (there !== here) yield { repository, tag, here, there };
    }
  }

  async *#selected(
    rule: PushRule,
    isNamed: (repository: Repository, tag: string) => boolean,
  ): AsyncGenerator<{ repository: Repository; tag: string; digest: Digest }, void> {
    const { names } = this.#parts;
    const fits = repositoryMatcher(rule.repositories);
    for await (const repository of names.links.repositories()) {
      if (!fits(repository)) continue;
      const digests = new Map<string, Digest>();
      for await (const { tag, record } of names.tags.walk(repository)) {
        digests.set(tag, record.digest);
      }
      for (const tag of selectTags([...digests.keys()], rule.tags)) {
        const digest = digests.get(tag);
        if (digest !== undefined && isNamed(repository, tag)) yield { repository, tag, digest };
      }
    }
  }

  async #send(
    rule: PushRule,
    target: PushTarget,
    { repository, tag, digest }: { repository: Repository; tag: string; digest: Digest },
    deliveries: Deliveries,
    work: Work,
  ): Promise<void> {
    const { prewarm } = this.#parts;
    const name = rule.nameThere(repository);
    const label = `${repositoryKey(repository)}:${tag}`;
    const wait = waitOf(work.signal);
    const known = await this.#topOf(rule, repository, digest);
    if (known !== undefined && (await target.resolve(name, tag, wait)) === known.digest) return;
    const platforms = rule.platforms.length > 0 ? rule.platforms : ('all' as const);
    const { referrers, window } = rule;
    const bringing = { images: [], platforms, referrers, window, priority: 'sync' as const };
    // What of it has been evicted here, or was never pulled, comes first.
    const { manifests } = await prewarm.bring(repository, { digest }, bringing, work);
    const shipment = await this.#pack(rule, repository, digest, manifests);
    const sentBytes = await this.#sendBlobs(rule, target, repository, shipment.blobs, work);
    if (work.isDryRun) {
      work.log(`${label}: ${sentBytes} bytes would be sent to ${name}`);
      return;
    }
    for (const child of shipment.children) {
      if ((await target.resolve(name, child.digest, wait)) !== undefined) continue;
      await target.putManifest(name, child.digest, child, wait);
    }
    await target.putManifest(name, tag, shipment.top, wait);
    const allBytes = shipment.blobs.reduce((sum, { size }) => sum + size, 0);
    deliveries.count({ fetchedBytes: sentBytes, presentBytes: allBytes - sentBytes });
    work.log(`${label}: sent to ${name}`);
  }

  /** @param digests the top and what goes with it, as `prewarm` brought them */
  async #pack(
    rule: PushRule,
    repository: Repository,
    digest: Digest,
    digests: readonly Digest[],
  ): Promise<Shipment> {
    const top = await this.#topOf(rule, repository, digest);
    if (top === undefined) throw new MirrorError('MANIFEST_UNKNOWN', `${digest} is not here`);
    const children: Manifest[] = [];
    const blobs = new Map<Digest, Descriptor>();
    const wanted = digests.filter((one) => one !== digest);
    for (const one of [...wanted, digest]) {
      const held = await this.#parts.manifests.peek(repository, one);
      if (held === undefined) throw new MirrorError('MANIFEST_UNKNOWN', `${one} is not here`);
      const { mediaType } = held.descriptor;
      for (const blob of parseManifest(held.bytes, mediaType).blobs) {
        if (!isForeign(blob)) blobs.set(blob.digest, blob);
      }
      if (one !== digest) children.push({ digest: one, mediaType, bytes: held.bytes });
    }
    return { children, top, blobs: [...blobs.values()] };
  }

  /** What the tag is to name there; undefined when it is not here. */
  async #topOf(
    { platforms }: PushRule,
    repository: Repository,
    digest: Digest,
  ): Promise<Manifest | undefined> {
    const held = await this.#parts.manifests.peek(repository, digest);
    if (held === undefined) return undefined;
    const { mediaType } = held.descriptor;
    const isIndex = parseManifest(held.bytes, mediaType).kind === 'index';
    if (!isIndex || platforms.length === 0) return { digest, mediaType, bytes: held.bytes };
    const bytes = await onlyImages(held.bytes, platforms);
    const hex = createHash('sha256').update(bytes).digest('hex');
    return { digest: `sha256:${hex}` as Digest, mediaType, bytes };
  }

  /** @returns the bytes that were sent, or would be */
  async #sendBlobs(
    rule: PushRule,
    target: PushTarget,
    repository: Repository,
    blobs: readonly Descriptor[],
    work: Work,
  ): Promise<number> {
    const left = [...blobs];
    let sentBytes = 0;
    let failure: unknown;
    const next = async (): Promise<void> => {
      for (let blob = left.shift(); blob !== undefined; blob = left.shift()) {
        work.signal.throwIfAborted();
        try {
          sentBytes += await this.#sendBlob(rule, target, repository, blob, work);
        } catch (error) {
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: blobsAtOnce }, next));
    work.signal.throwIfAborted();
    if (failure !== undefined) throw failure;
    return sentBytes;
  }

  async #sendBlob(
    rule: PushRule,
    target: PushTarget,
    repository: Repository,
    blob: Descriptor,
    work: Work,
  ): Promise<number> {
    const { digest, size: sizeBytes } = blob;
    const name = rule.nameThere(repository);
    const wait = waitOf(work.signal);
    const place = `${rule.name} ${digest}`;
    if (await target.hasBlob(name, digest, wait)) {
      this.#places.set(place, name);
      return 0;
    }
    if (work.isDryRun) return sizeBytes;
    const elsewhere = this.#places.get(place);
    if (elsewhere !== undefined && elsewhere !== name) {
      if (await target.mount(name, digest, elsewhere, wait)) return 0;
    }
    const open = (part: ByteRange): Readable =>
      Readable.from(this.#bytesOf(digest, part, rule.bandwidth, work.signal), {
        objectMode: false,
      });
    for (let attempt = 1; ; attempt += 1) {
      try {
        await target.upload(name, { digest, sizeBytes }, open, wait);
        this.#places.set(place, name);
        return sizeBytes;
      } catch (error) {
        work.signal.throwIfAborted();
        if (attempt === attemptsMax) throw error;
        work.log(`${digest}: ${(error as Error).message}; attempt ${attempt + 1} follows`);
        await pause(backOffMs * 4 ** (attempt - 1), work.signal);
      }
    }
  }

  async *#bytesOf(
    digest: Digest,
    part: ByteRange,
    pace: Pace | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void> {
    const blob = await this.#parts.store.find(digest);
    if (blob === undefined) throw new MirrorError('BLOB_UNKNOWN', `${digest} is no longer here`);
    const reader = blob.read(part);
    try {
      for (let lease = await reader.next(); lease !== undefined; lease = await reader.next()) {
        // The socket may have it longer than the lease.
        const bytes = Buffer.from(lease.bytes);
        lease.release();
        await pace?.take(bytes.length, () => 'sync', signal);
        yield bytes;
      }
    } finally {
      reader.close();
      blob.close();
    }
  }
}

function waitOf(signal: AbortSignal): Wait {
  return { signal, priority: () => 'sync' };
}

function isSame(a: Repository | undefined, b: Repository): boolean {
  return a === undefined || (a.registry === b.registry && a.name === b.name);
}

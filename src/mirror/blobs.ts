import type { Clock } from '../base/clock.ts';
import type { Observe, Outcome } from '../base/events.ts';
import type { Priority } from '../base/limiter.ts';
import { untilAborted } from '../base/until-aborted.ts';
import { blobMediaType, type Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { BlobStore, StoredBlob } from '../store/blob-store.ts';
import type { Link, LinkStore } from '../store/names.ts';
import type { FillProgress } from './fill-parts.ts';
import { Fill } from './fill.ts';
import { Flights } from './flights.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';
import { passThrough, steadfast, type Source } from './pass-through.ts';
import { Suspects } from './suspects.ts';

export interface BlobAnswer {
  /** Close it when done. */
  readonly content: StoredBlob;
  readonly outcome: Outcome;
}

/** Fills that read-ahead runs at once; what clients wait for is not counted and not held up. */
const readAheadMax = 4;

/** Blobs that wait to be read ahead; what does not fit is fetched when it is asked for. */
const readAheadQueueMax = 1_000;

/** How often a fetch tells how far it is. */
const reportMs = 250;

/** A joined fill may fail for reasons of its own repository, or be cancelled as we join: again then. */
const triesMax = 3;

/**
 * Blobs: from the store, from the flight that brings one, or by starting that flight.
 *
 * A blob is shared by digest and given out by repository: only with a link (a manifest of that
 * repository names it, or upstream said so), so a digest alone opens nothing.
 */
export class Blobs {
  readonly #store: BlobStore;
  readonly #links: LinkStore;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #flying = new Map<Digest, Promise<Fill | undefined>>();
  readonly #fills = new Set<Fill>();
  readonly #suspects = new Suspects();
  readonly #asking = new Flights<{ sizeBytes: number | undefined }>();
  readonly #ahead: { repository: Repository; from: MirroredUpstream; blob: Descriptor }[] = [];
  #aheadRunning = 0;
  #isClosing = false;

  constructor(parts: {
    readonly store: BlobStore;
    readonly links: LinkStore;
    readonly clock: Clock;
    readonly observe: Observe;
  }) {
    this.#store = parts.store;
    this.#links = parts.links;
    this.#clock = parts.clock;
    this.#observe = parts.observe;
  }

  /** @param isAgain for the rest of what could not be read the first time */
  async find(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
    isAgain: boolean = false,
  ): Promise<BlobAnswer> {
    const reopen = isAgain ? nowhere : () => this.#fetchAnew(repository, digest, from);
    let link = await this.#links.find(repository, digest);
    for (let tries = 1; ; tries += 1) {
      if (link !== undefined) {
        const stored = await this.#store.find(digest);
        if (stored !== undefined) {
          const content = steadfast(stored, this.#sourceOf(repository, from), reopen);
          return { content, outcome: 'HIT' };
        }
      }
      const isFlying = this.#flying.has(digest);
      const flight = this.#flight(repository, digest, from, link, 'client');
      const fill = await flight;
      if (isFlying && fill?.failure !== undefined && tries < triesMax && !this.#isClosing) {
        // It failed before we came, and is only being cleared away.
        await fill.ended;
        continue;
      }
      // Already here, or brought for another repository: ours must be allowed to see it.
      const isForeign = fill === undefined || !isSame(fill.repository, repository);
      if (isForeign && link === undefined) {
        // The size of one that arrives comes with it.
        if (fill === undefined) link = await this.#confirm(repository, digest, from);
        else await this.#ask(repository, digest, from);
      }
      if (fill === undefined) {
        if (tries < triesMax) continue;
        throw new MirrorError('DISK_FAILED', `${digest} is in the cache and cannot be opened`);
      }
      fill.join();
      try {
        await fill.opened;
      } catch (error) {
        fill.leave();
        const isDisputed = isMirrorError(error, 'UPSTREAM_INVALID') && tries === 1;
        const corrected =
          isDisputed && link !== undefined
            ? await this.#correct(link, repository, from).catch(() => undefined)
            : undefined;
        if (corrected !== undefined) {
          link = corrected;
          await fill.ended;
          continue;
        }
        const mayDiffer = isMirrorError(error, 'CANCELLED') || isForeign;
        if (mayDiffer && tries < triesMax && !this.#isClosing) {
          await fill.ended;
          continue;
        }
        return this.#withoutDisk(error, fill, repository, from);
      }
      const content = fill.content();
      if (link === undefined) await this.#link(repository, digest, content.sizeBytes);
      return {
        content: steadfast(content, this.#sourceOf(repository, from), nowhere),
        outcome: isFlying ? 'JOINED' : 'MISS',
      };
    }
  }

  /** The size of a blob, without a transfer: from the disk, or as upstream says. */
  async describe(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ): Promise<{ sizeBytes: number; outcome: Outcome }> {
    const link = await this.#links.find(repository, digest);
    if (link === undefined) {
      const { sizeBytes } = await this.#confirm(repository, digest, from);
      return { sizeBytes, outcome: 'MISS' };
    }
    const stored = await this.#store.find(digest);
    stored?.close();
    if (stored !== undefined) return { sizeBytes: stored.sizeBytes, outcome: 'HIT' };
    // That a manifest names it does not mean that upstream has it: a foreign layer may be nowhere.
    const { sizeBytes = link.sizeBytes } = await this.#ask(repository, digest, from);
    return { sizeBytes, outcome: 'MISS' };
  }

  /** Fetches what a served manifest names before it is asked for, behind what clients wait for. */
  readAhead(repository: Repository, blobs: readonly Descriptor[], from: MirroredUpstream): void {
    for (const blob of blobs) {
      if (this.#ahead.length >= readAheadQueueMax || this.#isClosing) return;
      this.#ahead.push({ repository, from, blob });
    }
    while (this.#aheadRunning < readAheadMax && this.#ahead.length > 0) {
      this.#aheadRunning += 1;
      void this.#runAhead().finally(() => {
        this.#aheadRunning -= 1;
      });
    }
  }

  /**
   * Brings a blob here for nobody in particular; joins the transfer that runs already.
   * @param report told now and then of the bytes that are here, and of those that upstream sent
   * @throws MirrorError why it did not come; the signal's reason
   */
  async fetch(
    repository: Repository,
    blob: Descriptor,
    from: MirroredUpstream,
    reason: Priority,
    signal: AbortSignal,
    report: (doneBytes: number, fetchedBytes: number) => void,
  ): Promise<void> {
    const link: Link = { ...blob, sizeBytes: blob.size, kind: 'blob' };
    for (let tries = 1; ; tries += 1) {
      signal.throwIfAborted();
      const fill = await this.#flight(repository, blob.digest, from, link, reason);
      if (fill === undefined) return;
      await this.#follow(fill, reason, signal, report);
      if (fill.failure === undefined) return;
      // A client that began it has left, and it ended with the client.
      const isLeft = isMirrorError(fill.failure, 'CANCELLED') && !this.#isClosing;
      if (!isLeft || tries === triesMax) throw fill.failure;
    }
  }

  /** What arrives at the moment. */
  get fills(): FillProgress[] {
    return Array.from(this.#fills, ({ progress }) => progress);
  }

  /** Stops what runs; resolves when nothing is left half done. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#ahead.length = 0;
    for (const fill of this.#fills) fill.stop();
    // One that is just beginning looks whether the store has it.
    await Promise.all(this.#flying.values());
    await Promise.all(Array.from(this.#fills, ({ ended }) => ended));
  }

  /** Waits for a transfer to end, and lets go of it when the signal says so. */
  async #follow(
    fill: Fill,
    reason: Priority,
    signal: AbortSignal,
    report: (doneBytes: number, fetchedBytes: number) => void,
  ): Promise<void> {
    const tell = (): void => report(fill.progress.doneBytes, fill.progress.fetchedBytes);
    const ticker = setInterval(tell, reportMs);
    try {
      await untilAborted(fill.ended, signal);
    } catch (error) {
      // One that a client reads goes on for it.
      if (fill.abandon(reason)) await fill.ended;
      throw error;
    } finally {
      clearInterval(ticker);
    }
    tell();
  }

  async #runAhead(): Promise<void> {
    for (let next = this.#ahead.shift(); next !== undefined; next = this.#ahead.shift()) {
      const { repository, from, blob } = next;
      if (this.#flying.has(blob.digest) || this.#isClosing) continue;
      const link: Link = { ...blob, sizeBytes: blob.size, kind: 'blob' };
      const fill = await this.#flight(repository, blob.digest, from, link, 'read-ahead');
      await fill?.ended;
    }
  }

  /** The flight of that digest; undefined when the store turns out to have it. */
  #flight(
    repository: Repository,
    digest: Digest,
    { upstream, fill: policy }: MirroredUpstream,
    link: Link | undefined,
    reason: Priority,
  ): Promise<Fill | undefined> {
    const flying = this.#flying.get(digest);
    if (flying !== undefined) return flying;
    const starting = (async () => {
      if (await this.#store.has(digest)) return undefined;
      const fill = new Fill({
        repository,
        digest,
        expectedBytes: link?.sizeBytes,
        upstream,
        policy,
        store: this.#store,
        clock: this.#clock,
        observe: this.#observe,
        reason,
        suspects: this.#suspects,
      });
      this.#fills.add(fill);
      if (this.#isClosing) fill.stop();
      void fill.ended.then(() => {
        this.#fills.delete(fill);
        this.#flying.delete(digest);
      });
      return fill;
    })();
    this.#flying.set(digest, starting);
    void starting.then((fill) => fill === undefined && this.#flying.delete(digest));
    return starting;
  }

  /** Asks upstream whether this repository has that blob, and remembers a yes. */
  async #confirm(repository: Repository, digest: Digest, from: MirroredUpstream): Promise<Link> {
    const { sizeBytes } = await this.#ask(repository, digest, from);
    const knownBytes = sizeBytes ?? (await this.#storedBytes(digest));
    if (knownBytes !== undefined) return this.#link(repository, digest, knownBytes);
    // Upstream never says, so there is nothing for it but to count.
    const { content } = await this.find(repository, digest, from);
    content.close();
    return this.#link(repository, digest, content.sizeBytes);
  }

  /** Whether upstream has it, and how large it is: one question for all who ask together. */
  #ask(
    repository: Repository,
    digest: Digest,
    { upstream }: MirroredUpstream,
  ): Promise<{ sizeBytes: number | undefined }> {
    const key = `${repositoryKey(repository)}@${digest}`;
    return this.#asking.share(key, () => upstream.describeBlob(repository.name, digest, {})).result;
  }

  async #storedBytes(digest: Digest): Promise<number | undefined> {
    const stored = await this.#store.peek(digest);
    stored?.close();
    return stored?.sizeBytes;
  }

  /**
   * Upstream sends another size than the manifest that named it says: one that errs must not take the
   * blob from all others. Answers by upstream's second word, when it is another one; nothing is kept of
   * that, for upstream may err as well.
   */
  async #correct(
    link: Link,
    repository: Repository,
    from: MirroredUpstream,
  ): Promise<Link | undefined> {
    const { sizeBytes } = await this.#ask(repository, link.digest, from);
    if (sizeBytes === undefined || sizeBytes === link.sizeBytes) return undefined;
    return { ...link, sizeBytes };
  }

  async #link(repository: Repository, digest: Digest, sizeBytes: number): Promise<Link> {
    const link: Link = { digest, mediaType: blobMediaType, sizeBytes, kind: 'blob' };
    await this.#links.add(repository, [link]);
    return link;
  }

  /** Of a stored blob that could not be read: the fill that brings it anew, for all who ask. */
  async #fetchAnew(
    repository: Repository,
    digest: Digest,
    from: MirroredUpstream,
  ): Promise<StoredBlob | undefined> {
    try {
      return (await this.find(repository, digest, from, true)).content;
    } catch (error) {
      if (isMirrorError(error, 'DISK_FAILED')) return undefined;
      throw error;
    }
  }

  #withoutDisk(
    error: unknown,
    fill: Fill,
    repository: Repository,
    from: MirroredUpstream,
  ): BlobAnswer {
    if (!isMirrorError(error, 'DISK_FAILED') || fill.announcedBytes === undefined) throw error;
    const key = { digest: fill.digest, repository: `${repository.registry}/${repository.name}` };
    this.#observe({ kind: 'fill-uncached', ...key, message: error.message });
    const source = this.#sourceOf(repository, from);
    const { digest, announcedBytes: sizeBytes } = fill;
    return { content: passThrough({ ...source, digest, sizeBytes }), outcome: 'MISS' };
  }

  #sourceOf({ name }: Repository, from: MirroredUpstream): Omit<Source, 'digest' | 'sizeBytes'> {
    return { from, name, suspects: this.#suspects };
  }
}

function nowhere(): Promise<undefined> {
  return Promise.resolve(undefined);
}

function isSame(a: Repository, b: Repository): boolean {
  return a.registry === b.registry && a.name === b.name;
}

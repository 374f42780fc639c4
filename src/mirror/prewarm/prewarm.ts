import { OwnAndShared, type Pace } from '../../base/token-bucket.ts';
import { untilAborted } from '../../base/until-aborted.ts';
import type { Work } from '../../base/work.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Reference, type Repository } from '../../oci/reference.ts';
import type { Blobs } from '../blobs.ts';
import { waitForQuota } from '../keep-quota.ts';
import type { Listed } from '../../upstream/upstream.ts';
import type { MirroredUpstream } from '../mirrored-upstream.ts';
import { parseImagePattern, type ImagePattern } from '../select/images.ts';
import { isExactTag, selectTags } from '../select/tags.ts';
import {
  fetchContent,
  isContentHere,
  type ImageContentParts,
  type Wanted,
} from './image-content.ts';
import { persist } from './persist.ts';
import { untilInWindow, type TimeWindow } from './window.ts';

/** What is fetched before anybody asks. */
export interface PrewarmRule extends Wanted {
  /** Images by tag, glob, range of versions or regular expression; see `parseImagePattern`. */
  readonly images: readonly string[];
  /** Of the tags that match, so many of the highest versions of each image. */
  readonly newest?: number | undefined;
  readonly bandwidth?: Pace | undefined;
  /** Pulls of the upstream's quota that are left to clients. */
  readonly keepQuota?: number | undefined;
  readonly window?: TimeWindow | undefined;
  /** Behind whom it stands; `prewarm` when it is not said. */
  readonly priority?: 'prewarm' | 'sync' | undefined;
}

/** An image that a rule has chosen, and what it is made of. */
export interface ChosenImage {
  readonly repository: Repository;
  readonly reference: Reference;
  /** The manifest that the reference names, and those below it and about it that were wanted. */
  readonly manifests: readonly Digest[];
}

export interface WarmedImage extends ChosenImage {
  /** Of its blobs: what came from upstream, and what was here already. */
  readonly fetchedBytes: number;
  readonly presentBytes: number;
}

/** What a run of a rule was about. */
export interface Prewarmed {
  readonly selected: readonly { readonly repository: Repository; readonly reference: Reference }[];
  /** False when it could not be found out for some of the rule's images which tags they mean. */
  readonly isSelectionWhole: boolean;
}

export interface PrewarmParts extends ImageContentParts {
  readonly blobs: Blobs;
  readonly upstreamOf: (repository: Repository) => MirroredUpstream;
  readonly tagsOf: (repository: Repository, from: MirroredUpstream) => Promise<Listed<string>>;
}

/** Blobs of one image at a time; the upstream's limits hold beside it. */
const blobsAtOnce = 3;

/** Each of them resumes what broke off while it makes progress. */
const attemptsMax = { blob: 4, manifest: 2 };

/**
 * Brings whole images here, behind what clients wait for. What is here already costs a HEAD a tag and
 * no transfer; so a run that was broken off goes on where it stopped. A failed image stops no other.
 */
export class Prewarm {
  readonly #parts: PrewarmParts;

  constructor(parts: PrewarmParts) {
    this.#parts = parts;
  }

  /** @param chosen told of each image before its blobs are fetched; not with `isDryRun` */
  async run(
    rule: PrewarmRule,
    work: Work,
    chosen?: (image: ChosenImage) => Promise<void>,
  ): Promise<Prewarmed> {
    if (rule.window !== undefined) await untilInWindow(rule.window, work);
    const selected = new Map<string, { repository: Repository; reference: Reference }>();
    let isSelectionWhole = true;
    for (const text of rule.images) {
      work.signal.throwIfAborted();
      try {
        const pattern = parseImagePattern(text);
        const { repository, references, isWhole } = await this.#choose(pattern, rule, work);
        isSelectionWhole &&= isWhole;
        if (references.length === 0) work.log(`${text}: no tag fits`);
        for (const reference of references) {
          selected.set(nameOf(repository, reference), { repository, reference });
        }
      } catch (error) {
        work.signal.throwIfAborted();
        work.advance({ imagesTotal: 1 });
        work.fail(text, error);
        isSelectionWhole = false;
      }
    }
    work.advance({ imagesTotal: selected.size });
    for (const image of selected.values()) await this.#warm(image, rule, work, chosen);
    return { selected: [...selected.values()], isSelectionWhole };
  }

  /**
   * One image, whole.
   * @param chosen as with `run`
   * @throws what keeps it from being here; the reason of the work's signal
   */
  async bring(
    repository: Repository,
    reference: Reference,
    rule: PrewarmRule,
    work: Work,
    chosen?: (image: ChosenImage) => Promise<void>,
  ): Promise<WarmedImage> {
    work.signal.throwIfAborted();
    const image = { repository, reference };
    const name = nameOf(repository, reference);
    if (rule.window !== undefined) await untilInWindow(rule.window, work);
    const from = this.#sourceOf(repository, rule);
    const { keepQuota = 0 } = rule;
    if (keepQuota > 0) {
      await waitForQuota(from.upstream, { name: repository.name, reference }, keepQuota, work);
    }
    const { manifests, blobs, warning } = await persist(work, name, attemptsMax.manifest, () =>
      fetchContent(this.#parts, image, from, rule, work),
    );
    if (warning !== undefined) work.log(`${name}: ${warning}`);
    if (!work.isDryRun) await chosen?.({ ...image, manifests });
    const fetchedBytes = await this.#bring(image, blobs, from, rule, work);
    const presentBytes = blobs.reduce((sum, { size }) => sum + size, 0) - fetchedBytes;
    work.advance({ imagesDone: 1 });
    if (!work.isDryRun) work.log(`${name}: is here`);
    return { ...image, manifests, fetchedBytes, presentBytes };
  }

  /** Whether all that `bring` would fetch is here; asks nobody, and does not count as a use. */
  holds(repository: Repository, digest: Digest, wanted: Wanted): Promise<boolean> {
    return isContentHere(this.#parts, repository, digest, wanted);
  }

  async #choose(
    { repository, tags, digest }: ImagePattern,
    rule: PrewarmRule,
    work: Work,
  ): Promise<{ repository: Repository; references: Reference[]; isWhole: boolean }> {
    if (digest !== undefined) return { repository, references: [{ digest }], isWhole: true };
    const pattern = tags ?? 'latest';
    if (isExactTag(pattern)) return { repository, references: [{ tag: pattern }], isWhole: true };
    const listing = this.#parts.tagsOf(repository, this.#sourceOf(repository, rule));
    const { items: all, missing } = await untilAborted(listing, work.signal);
    if (missing !== undefined) work.log(`${repositoryKey(repository)}: not all tags: ${missing}`);
    const found = selectTags(all, { include: [pattern], exclude: [], newest: rule.newest });
    work.log(`${repositoryKey(repository)}:${pattern}: ${found.length} of ${all.length} tags fit`);
    return {
      repository,
      references: found.map((tag) => ({ tag })),
      isWhole: missing === undefined,
    };
  }

  async #warm(
    image: { readonly repository: Repository; readonly reference: Reference },
    rule: PrewarmRule,
    work: Work,
    chosen?: (image: ChosenImage) => Promise<void>,
  ): Promise<void> {
    const { repository, reference } = image;
    try {
      await this.bring(repository, reference, rule, work, chosen);
    } catch (error) {
      work.signal.throwIfAborted();
      work.fail(nameOf(repository, reference), error);
    }
  }

  /** @returns the bytes of what was not here */
  async #bring(
    { repository, reference }: { readonly repository: Repository; readonly reference: Reference },
    blobs: readonly Descriptor[],
    from: MirroredUpstream,
    rule: PrewarmRule,
    work: Work,
  ): Promise<number> {
    const missing: Descriptor[] = [];
    for (const blob of blobs) {
      work.advance({ blobsTotal: 1, bytesTotal: blob.size });
      if (await this.#parts.store.has(blob.digest)) {
        work.advance({ blobsDone: 1, bytesDone: blob.size });
      } else missing.push(blob);
    }
    const bytes = missing.reduce((sum, { size }) => sum + size, 0);
    if (work.isDryRun) {
      work.log(
        `${nameOf(repository, reference)}: ${missing.length} blobs with ${bytes} bytes would be fetched`,
      );
      return bytes;
    }
    let failure: unknown;
    const next = async (): Promise<void> => {
      for (let blob = missing.shift(); blob !== undefined; blob = missing.shift()) {
        work.signal.throwIfAborted();
        try {
          await this.#bringOne(repository, blob, from, rule, work);
        } catch (error) {
          work.signal.throwIfAborted();
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: blobsAtOnce }, next));
    if (failure !== undefined) throw failure;
    return bytes;
  }

  async #bringOne(
    repository: Repository,
    blob: Descriptor,
    from: MirroredUpstream,
    { priority = 'prewarm' }: PrewarmRule,
    work: Work,
  ): Promise<void> {
    let reported = { done: 0, fetched: 0 };
    /** By attempts that failed. */
    let fetchedBefore = 0;
    const report = (done: number, fetched: number): void => {
      work.advance({ bytesDone: done - reported.done, bytesFetched: fetched - reported.fetched });
      reported = { done, fetched };
    };
    await persist(work, blob.digest, attemptsMax.blob, async () => {
      try {
        await this.#parts.blobs.fetch(
          repository,
          blob,
          from,
          priority,
          work.signal,
          (done, fetched) => report(done, fetchedBefore + fetched),
        );
      } catch (error) {
        report(0, reported.fetched);
        fetchedBefore = reported.fetched;
        throw error;
      }
    });
    report(blob.size, reported.fetched);
    work.advance({ blobsDone: 1 });
  }

  /**
   * The upstream as this rule uses it: tags, and what was not there, are asked for anew, nothing beyond
   * what is wanted is read ahead, and it has a rate of its own.
   */
  #sourceOf(repository: Repository, { bandwidth }: PrewarmRule): MirroredUpstream {
    const from = this.#parts.upstreamOf(repository);
    const { fill } = from;
    const tags = { ...from.tags, tagTtlMs: 0 };
    const source = { ...from, tags, readAhead: false, knownMs: Infinity };
    if (bandwidth === undefined) return source;
    return {
      ...source,
      fill: { ...fill, bandwidth: new OwnAndShared(bandwidth, fill.bandwidth) },
    };
  }
}

function nameOf(repository: Repository, { tag, digest }: Reference): string {
  return `${repositoryKey(repository)}${tag === undefined ? `@${digest}` : `:${tag}`}`;
}

import { OwnAndShared, type Pace } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import type { Digest } from '../../oci/digest.ts';
import { isForeign, parseManifest } from '../../oci/manifest.ts';
import { repositoryKey, type Reference, type Repository } from '../../oci/reference.ts';
import type { BlobStore } from '../../store/blob-store.ts';
import type { Blobs } from '../blobs.ts';
import { waitForQuota } from '../keep-quota.ts';
import type { ManifestWithBytes } from '../manifest-answer.ts';
import type { Manifests } from '../manifests.ts';
import type { MirroredUpstream } from '../mirrored-upstream.ts';
import { afterFailure, pause } from '../retry.ts';
import { parseImagePattern, type ImagePattern } from '../select/images.ts';
import { isExactTag, selectTags } from '../select/tags.ts';
import { choosePlatforms } from './platforms.ts';
import { untilInWindow, type TimeWindow } from './window.ts';

/** What is fetched before anybody asks. */
export interface PrewarmRule {
  /** Images by tag, glob, range of versions or regular expression; see `parseImagePattern`. */
  readonly images: readonly string[];
  /** `os/architecture[/variant]`; none: those that are here of older versions, else linux/amd64. */
  readonly platforms: readonly string[] | 'all';
  /** Of an index, these in place of what the platforms choose. */
  readonly only?: readonly Digest[] | undefined;
  /** Of the tags that match, so many of the highest versions of each image. */
  readonly newest?: number | undefined;
  /** Attestations, and what refers to the images: signatures, bills of materials. */
  readonly referrers?: boolean | undefined;
  readonly bandwidth?: Pace | undefined;
  /** Pulls of the upstream's quota that are left to clients. */
  readonly keepQuota?: number | undefined;
  readonly window?: TimeWindow | undefined;
  /** Behind whom it stands; `prewarm` when it is not said. */
  readonly priority?: 'prewarm' | 'sync' | undefined;
}

/** An image that a rule has chosen, and what it is made of. */
export interface WarmedImage {
  readonly repository: Repository;
  readonly reference: Reference;
  /** The manifest that the reference names, and those below it that were wanted. */
  readonly manifests: readonly Digest[];
  /** Of its blobs: what came from upstream, and what was here already. */
  readonly fetchedBytes: number;
  readonly presentBytes: number;
}

export interface PrewarmParts {
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  readonly store: BlobStore;
  readonly upstreamOf: (repository: Repository) => MirroredUpstream;
  readonly tagsOf: (repository: Repository) => Promise<readonly string[]>;
  readonly referrersOf: (repository: Repository, digest: Digest) => Promise<readonly unknown[]>;
}

/** Blobs of one image at a time; the upstream's limits hold beside it. */
const blobsAtOnce = 3;

/** Attempts for one blob; each of them resumes what broke off while it makes progress. */
const attemptsMax = 4;

/** Waits between them. */
const backOffMs = 1_000;

/**
 * Brings whole images here, behind what clients wait for. What is here already costs a HEAD a tag and
 * no transfer; so a run that was broken off goes on where it stopped. A failed image stops no other.
 */
export class Prewarm {
  readonly #parts: PrewarmParts;

  constructor(parts: PrewarmParts) {
    this.#parts = parts;
  }

  /** @returns the images that are whole now, or would be fetched, with `isDryRun` */
  async run(rule: PrewarmRule, work: Work): Promise<WarmedImage[]> {
    const warmed: WarmedImage[] = [];
    for (const text of rule.images) {
      work.signal.throwIfAborted();
      let chosen: { repository: Repository; references: Reference[] };
      try {
        chosen = await this.#choose(parseImagePattern(text), rule, work);
      } catch (error) {
        work.signal.throwIfAborted();
        work.advance({ imagesTotal: 1 });
        work.fail(text, error);
        continue;
      }
      work.advance({ imagesTotal: chosen.references.length });
      if (chosen.references.length === 0) work.log(`${text}: no tag fits`);
      for (const reference of chosen.references) {
        const image = await this.#warm(chosen.repository, reference, rule, work);
        if (image !== undefined) warmed.push(image);
      }
    }
    return warmed;
  }

  /** One image, whole. @throws what keeps it from being here; the reason of the work's signal */
  async bring(
    repository: Repository,
    reference: Reference,
    rule: PrewarmRule,
    work: Work,
  ): Promise<WarmedImage> {
    work.signal.throwIfAborted();
    if (rule.window !== undefined) await untilInWindow(rule.window, work);
    const from = this.#sourceOf(repository, rule);
    const { keepQuota = 0 } = rule;
    if (keepQuota > 0) {
      await waitForQuota(from.upstream, { name: repository.name, reference }, keepQuota, work);
    }
    const image = await this.#fetch(repository, reference, from, rule, work);
    work.advance({ imagesDone: 1 });
    work.log(`${nameOf(repository, reference)}: ${work.isDryRun ? 'looked at' : 'is here'}`);
    return image;
  }

  /** Whether all that `bring` would fetch is here; asks nobody, and does not count as a use. */
  async holds(
    repository: Repository,
    digest: Digest,
    rule: Pick<PrewarmRule, 'platforms' | 'only' | 'referrers'>,
  ): Promise<boolean> {
    const { manifests, store } = this.#parts;
    const top = await manifests.peek(repository, digest);
    if (top === undefined) return false;
    const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
    const images = parsed.kind === 'index' ? [] : [parsed];
    for (const child of parsed.kind === 'index' ? await this.#chosen(top.bytes, rule) : []) {
      const held = await manifests.peek(repository, child);
      if (held === undefined) return false;
      images.push(parseManifest(held.bytes, held.descriptor.mediaType));
    }
    for (const blob of images.flatMap(({ blobs }) => blobs)) {
      if (!isForeign(blob) && !(await store.has(blob.digest))) return false;
    }
    return images.length > 0;
  }

  async #choose(
    { repository, tags, digest }: ImagePattern,
    { newest }: PrewarmRule,
    work: Work,
  ): Promise<{ repository: Repository; references: Reference[] }> {
    if (digest !== undefined) return { repository, references: [{ digest }] };
    const pattern = tags ?? 'latest';
    if (isExactTag(pattern)) return { repository, references: [{ tag: pattern }] };
    const all = await this.#parts.tagsOf(repository);
    work.signal.throwIfAborted();
    const found = selectTags(all, { include: [pattern], exclude: [], newest });
    work.log(`${repositoryKey(repository)}:${pattern}: ${found.length} of ${all.length} tags fit`);
    return { repository, references: found.map((tag) => ({ tag })) };
  }

  async #warm(
    repository: Repository,
    reference: Reference,
    rule: PrewarmRule,
    work: Work,
  ): Promise<WarmedImage | undefined> {
    try {
      return await this.bring(repository, reference, rule, work);
    } catch (error) {
      work.signal.throwIfAborted();
      work.fail(nameOf(repository, reference), error);
      return undefined;
    }
  }

  async #fetch(
    repository: Repository,
    reference: Reference,
    from: MirroredUpstream,
    rule: PrewarmRule,
    work: Work,
  ): Promise<WarmedImage> {
    const { manifests } = this.#parts;
    const top = await manifests.get(repository, reference, from);
    const digests = [top.descriptor.digest];
    const images = await this.#imagesOf(repository, top, from, rule, work);
    const wanted = new Map<Digest, Descriptor>();
    for (const image of images) {
      if (image.descriptor.digest !== top.descriptor.digest) digests.push(image.descriptor.digest);
      const { blobs } = parseManifest(image.bytes, image.descriptor.mediaType);
      for (const blob of blobs) if (!isForeign(blob)) wanted.set(blob.digest, blob);
    }
    const blobs = [...wanted.values()];
    const fetchedBytes = await this.#bring(repository, blobs, from, rule, work);
    const presentBytes = blobs.reduce((sum, { size }) => sum + size, 0) - fetchedBytes;
    return { repository, reference, manifests: digests, fetchedBytes, presentBytes };
  }

  /** The manifests with layers: the image itself, or of an index those for the wanted platforms. */
  async #imagesOf(
    repository: Repository,
    top: ManifestWithBytes,
    from: MirroredUpstream,
    rule: PrewarmRule,
    work: Work,
  ): Promise<ManifestWithBytes[]> {
    const { manifests } = this.#parts;
    const found: ManifestWithBytes[] = [];
    const parsed = parseManifest(top.bytes, top.descriptor.mediaType);
    const children: Digest[] = [];
    if (parsed.kind === 'index') {
      children.push(...(await this.#chosen(top.bytes, rule)));
      if (children.length === 0) throw new Error(`it has no image for ${platformsText(rule)}`);
    } else {
      found.push(top);
    }
    if (rule.referrers === true) {
      for (const entry of await this.#parts.referrersOf(repository, top.descriptor.digest)) {
        const { digest } = (entry ?? {}) as { digest?: unknown };
        if (typeof digest === 'string') children.push(digest as Digest);
      }
    }
    for (const digest of children) {
      work.signal.throwIfAborted();
      found.push(await manifests.get(repository, { digest }, from));
    }
    return found;
  }

  async #chosen(
    index: Uint8Array,
    rule: Pick<PrewarmRule, 'platforms' | 'only' | 'referrers'>,
  ): Promise<readonly Digest[]> {
    return (
      rule.only ??
      choosePlatforms(index, {
        platforms: rule.platforms,
        attestations: rule.referrers === true,
        has: (digest) => this.#parts.store.has(digest),
      })
    );
  }

  /** @returns the bytes of what was not here */
  async #bring(
    repository: Repository,
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
      work.log(`${missing.length} blobs with ${bytes} bytes would be fetched`);
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
    let reported = 0;
    const report = (doneBytes: number): void => {
      work.advance({ bytesDone: doneBytes - reported });
      reported = doneBytes;
    };
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#parts.blobs.fetch(repository, blob, from, priority, work.signal, report);
        report(blob.size);
        work.advance({ blobsDone: 1 });
        return;
      } catch (error) {
        report(0);
        work.signal.throwIfAborted();
        // What upstream does not have, or refuses, it will not have a second later.
        if (attempt === attemptsMax || afterFailure(error, 0).do === 'give up') throw error;
        work.log(`${blob.digest}: ${(error as Error).message}; attempt ${attempt + 1} follows`);
        await pause(backOffMs * 4 ** (attempt - 1), work.signal);
      }
    }
  }

  /** The upstream as this rule uses it: nothing beyond what is wanted is read ahead, within its own rate. */
  #sourceOf(repository: Repository, { bandwidth }: PrewarmRule): MirroredUpstream {
    const from = this.#parts.upstreamOf(repository);
    const { fill } = from;
    if (bandwidth === undefined) return { ...from, readAhead: false };
    const both = new OwnAndShared(bandwidth, fill.bandwidth);
    return { ...from, readAhead: false, fill: { ...fill, bandwidth: both } };
  }
}

function platformsText({ platforms }: PrewarmRule): string {
  return platforms === 'all' ? 'any platform' : platforms.join(', ') || 'linux/amd64';
}

function nameOf(repository: Repository, { tag, digest }: Reference): string {
  return `${repositoryKey(repository)}${tag === undefined ? `@${digest}` : `:${tag}`}`;
}

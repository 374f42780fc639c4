import type { Pace } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { TagStore } from '../../store/names.ts';
import type { Manifests } from '../manifests.ts';
import type { MirroredUpstream } from '../mirrored-upstream.ts';
import type { Prewarm, PrewarmRule } from '../prewarm/prewarm.ts';
import type { TimeWindow } from '../prewarm/window.ts';
import { globMatcher } from '../select/globs.ts';
import { selectTags, type TagSelection } from '../select/tags.ts';
import type { Deliveries, Subject } from './deliveries.ts';

/** What one rule copies from the primary. */
export interface SyncRule {
  readonly name: string;
  /** Globs of `registry/name`. */
  readonly repositories: readonly string[];
  readonly tags: TagSelection;
  /** None: those that the primary has; all of them when it cannot say. */
  readonly platforms: readonly string[];
  readonly referrers: boolean;
  readonly bandwidth: Pace | undefined;
  readonly window: TimeWindow | undefined;
  /** What the primary has deleted: kept here, or deleted too. */
  readonly deletions: 'keep' | 'propagate';
}

export interface SourceTag {
  readonly tag: string;
  readonly digest: Digest;
  /** Of an index: the images that the source has of it, where it can say. */
  readonly images?: readonly Digest[] | undefined;
}

/** The site that is copied from. */
export interface SyncSource {
  /** Those that may match one of the globs. */
  repositories(globs: readonly string[], signal: AbortSignal): AsyncIterable<Repository>;
  tags(repository: Repository, signal: AbortSignal): Promise<SourceTag[]>;
}

/** What differs between this site and its primary. */
export interface Difference {
  readonly repository: Repository;
  readonly tag: string;
  readonly here: Digest | undefined;
  readonly there: Digest | undefined;
}

export interface SyncParts {
  readonly manifests: Manifests;
  readonly prewarm: Prewarm;
  readonly tags: TagStore;
  readonly upstreamOf: (repository: Repository) => MirroredUpstream | undefined;
}

/** Images at a time: the small questions of one are asked while another's layers come. */
const imagesAtOnce = 3;

/** Copies what a rule selects: blobs before manifests, manifests before tags, and only what is missing. */
export class Sync {
  readonly #parts: SyncParts;

  constructor(parts: SyncParts) {
    this.#parts = parts;
  }

  /**
   * @param deliveries hears of each image how it went
   * @param only what the feed has named, or what failed before; undefined: all that the rule selects
   */
  async run(
    rule: SyncRule,
    source: SyncSource,
    deliveries: Deliveries,
    work: Work,
    only?: readonly Subject[],
  ): Promise<void> {
    const named = only === undefined ? undefined : groupByRepository(only);
    try {
      const repositories =
        named === undefined
          ? this.#selected(rule, source, work.signal)
          : Array.from(named.values(), ({ repository }) => repository);
      for await (const repository of repositories) {
        work.signal.throwIfAborted();
        const tags = named?.get(repositoryKey(repository))?.tags;
        await this.#copyRepository(rule, source, { repository, tags }, deliveries, work);
      }
      if (named === undefined) deliveries.delivered({});
    } catch (error) {
      work.signal.throwIfAborted();
      if (named === undefined && !work.isDryRun) deliveries.failed({}, error);
      throw error;
    } finally {
      await deliveries.save();
    }
  }

  /** Compares both sides by digest. */
  async *differences(
    rule: SyncRule,
    source: SyncSource,
    signal: AbortSignal,
  ): AsyncGenerator<Difference, void> {
    for await (const repository of this.#selected(rule, source, signal)) {
      const all = await source.tags(repository, signal);
      const here = await this.#here(repository);
      for (const wanted of wantedOf(rule, all)) {
        const { tag, digest } = wanted;
        if (await this.#isHere(rule, repository, wanted, here)) continue;
        yield { repository, tag, here: here.get(tag), there: digest };
      }
      if (rule.deletions === 'keep') continue;
      for (const tag of goneOf(rule, here, all)) {
        yield { repository, tag, here: here.get(tag), there: undefined };
      }
    }
  }

  /** Whether a rule is about that repository. */
  static selects({ repositories }: SyncRule, repository: Repository): boolean {
    return repositoryMatcher(repositories)(repository);
  }

  async #copyRepository(
    rule: SyncRule,
    source: SyncSource,
    { repository, tags }: RepositoryTags,
    deliveries: Deliveries,
    work: Work,
  ): Promise<void> {
    let all: SourceTag[];
    try {
      all = await source.tags(repository, work.signal);
    } catch (error) {
      work.signal.throwIfAborted();
      work.advance({ imagesTotal: 1 });
      work.fail(repositoryKey(repository), error);
      if (work.isDryRun) return;
      if (tags === undefined) deliveries.failed({ repository }, error);
      for (const tag of tags ?? []) deliveries.failed({ repository, tag }, error);
      return;
    }
    const here = await this.#here(repository);
    const wanted = wantedOf(rule, all).filter(({ tag }) => tags?.has(tag) ?? true);
    work.advance({ imagesTotal: wanted.length });
    // What was named and is not wanted any more is done, too.
    const done = new Set([...(tags ?? []), ...wanted.map(({ tag }) => tag)]);
    const next = async (): Promise<void> => {
      for (let image = wanted.shift(); image !== undefined; image = wanted.shift()) {
        work.signal.throwIfAborted();
        const isDone = await this.#copy(rule, repository, image, here, deliveries, work);
        if (!isDone) done.delete(image.tag);
      }
    };
    await Promise.all(Array.from({ length: imagesAtOnce }, next));
    if (rule.deletions === 'propagate') await this.#delete(rule, repository, all, here, work, tags);
    if (work.isDryRun) return;
    for (const tag of done) deliveries.delivered({ repository, tag });
    if (tags === undefined) deliveries.delivered({ repository });
  }

  /** @returns whether nothing of it is owed any more */
  async #copy(
    rule: SyncRule,
    repository: Repository,
    image: SourceTag,
    here: ReadonlyMap<string, Digest>,
    deliveries: Deliveries,
    work: Work,
  ): Promise<boolean> {
    const { tag, digest } = image;
    try {
      if (await this.#isHere(rule, repository, image, here)) {
        work.advance({ imagesDone: 1 });
        return true;
      }
      const brought = await this.#parts.prewarm.bring(
        repository,
        { digest },
        bringingOf(rule, image),
        work,
      );
      if (work.isDryRun) return true;
      await this.#parts.manifests.adopt(repository, tag, digest);
      deliveries.count(brought);
      return true;
    } catch (error) {
      work.signal.throwIfAborted();
      work.fail(`${repositoryKey(repository)}:${tag}`, error);
      if (!work.isDryRun) deliveries.failed({ repository, tag }, error);
      return false;
    }
  }

  async #delete(
    rule: SyncRule,
    repository: Repository,
    there: readonly SourceTag[],
    here: ReadonlyMap<string, Digest>,
    work: Work,
    only: ReadonlySet<string> | undefined,
  ): Promise<void> {
    for (const tag of goneOf(rule, here, there)) {
      if (only?.has(tag) === false) continue;
      work.log(`${repositoryKey(repository)}:${tag}: deleted at the primary`);
      if (!work.isDryRun) await this.#parts.manifests.forget(repository, { tag });
    }
  }

  async *#selected(
    rule: SyncRule,
    source: SyncSource,
    signal: AbortSignal,
  ): AsyncGenerator<Repository, void> {
    for await (const repository of source.repositories(rule.repositories, signal)) {
      if (this.#parts.upstreamOf(repository) === undefined) continue;
      if (Sync.selects(rule, repository)) yield repository;
    }
  }

  async #here(repository: Repository): Promise<Map<string, Digest>> {
    const here = new Map<string, Digest>();
    for await (const { tag, record } of this.#parts.tags.walk(repository))
      here.set(tag, record.digest);
    return here;
  }

  async #isHere(
    rule: SyncRule,
    repository: Repository,
    image: SourceTag,
    here: ReadonlyMap<string, Digest>,
  ): Promise<boolean> {
    const { tag, digest } = image;
    if (here.get(tag) !== digest) return false;
    return this.#parts.prewarm.holds(repository, digest, bringingOf(rule, image));
  }
}

/** Whether a repository fits one of the globs of `registry/name`. */
export function repositoryMatcher(globs: readonly string[]): (repository: Repository) => boolean {
  const fits = globMatcher(globs);
  return (repository) => fits(repositoryKey(repository));
}

interface RepositoryTags {
  readonly repository: Repository;
  /** Undefined: all that the rule selects. */
  readonly tags: ReadonlySet<string> | undefined;
}

function groupByRepository(subjects: readonly Subject[]): Map<string, RepositoryTags> {
  const groups = new Map<string, { repository: Repository; tags: Set<string> | undefined }>();
  for (const { repository, tag } of subjects) {
    if (repository === undefined) continue;
    const key = repositoryKey(repository);
    const group = groups.get(key) ?? { repository, tags: new Set<string>() };
    if (tag === undefined) group.tags = undefined;
    else group.tags?.add(tag);
    groups.set(key, group);
  }
  return groups;
}

/** An index of which the source has no image is none yet: it is named again when one is there. */
function wantedOf({ tags, platforms }: SyncRule, all: readonly SourceTag[]): SourceTag[] {
  const chosen = new Set(
    selectTags(
      all.map(({ tag }) => tag),
      tags,
    ),
  );
  return all.filter(
    ({ tag, images }) => chosen.has(tag) && (platforms.length > 0 || images?.length !== 0),
  );
}

/** Tags that the rule selects and that are here alone. */
function goneOf(
  { tags }: SyncRule,
  here: ReadonlyMap<string, Digest>,
  there: readonly SourceTag[],
): string[] {
  const kept = new Set(there.map(({ tag }) => tag));
  const gone = [...here.keys()].filter((tag) => !kept.has(tag));
  return selectTags(gone, { ...tags, newest: undefined });
}

function bringingOf(
  { platforms, referrers, bandwidth, window }: SyncRule,
  { images }: SourceTag,
): PrewarmRule {
  return {
    images: [],
    platforms: platforms.length > 0 ? platforms : 'all',
    only: platforms.length > 0 ? undefined : images,
    referrers,
    bandwidth,
    window,
    priority: 'sync',
  };
}

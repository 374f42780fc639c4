import picomatch from 'picomatch';
import type { Pace } from '../../base/token-bucket.ts';
import type { Work } from '../../base/work.ts';
import type { Digest } from '../../oci/digest.ts';
import { repositoryKey, type Repository } from '../../oci/reference.ts';
import type { TagStore } from '../../store/names.ts';
import type { Manifests } from '../manifests.ts';
import type { MirroredUpstream } from '../mirrored-upstream.ts';
import type { Prewarm } from '../prewarm/prewarm.ts';
import { selectTags, type TagSelection } from '../select/tags.ts';

/** What one rule copies from the primary. */
export interface SyncRule {
  readonly name: string;
  /** Globs of `registry/name`. */
  readonly repositories: readonly string[];
  readonly tags: TagSelection;
  readonly platforms: readonly string[];
  readonly referrers: boolean;
  readonly bandwidth: Pace | undefined;
  /** What the primary has deleted: kept here, or deleted too. */
  readonly deletions: 'keep' | 'propagate';
}

export interface SourceTag {
  readonly tag: string;
  readonly digest: Digest;
}

/** The site that is copied from. */
export interface SyncSource {
  /** Those that may match one of the globs. */
  repositories(globs: readonly string[], signal: AbortSignal): AsyncIterable<Repository>;
  tags(repository: Repository, signal: AbortSignal): Promise<SourceTag[]>;
}

/** One tag of one repository: what a run is about when the feed has named it. */
export interface ImageName {
  readonly repository: Repository;
  readonly tag: string;
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

/** Copies what a rule selects: blobs before manifests, manifests before tags, and only what is missing. */
export class Sync {
  readonly #parts: SyncParts;

  constructor(parts: SyncParts) {
    this.#parts = parts;
  }

  /** @param only what the feed has named; undefined: everything that the rule selects */
  async run(
    rule: SyncRule,
    source: SyncSource,
    work: Work,
    only?: readonly ImageName[],
  ): Promise<void> {
    const named = only === undefined ? undefined : groupByRepository(only);
    const repositories =
      named === undefined ? this.#selected(rule, source, work.signal) : named.keys();
    for await (const key of repositories) {
      work.signal.throwIfAborted();
      const repository = typeof key === 'string' ? repositoryOf(key) : key;
      try {
        await this.#copy(rule, source, repository, work, named?.get(repositoryKey(repository)));
      } catch (error) {
        work.signal.throwIfAborted();
        work.advance({ imagesTotal: 1 });
        work.fail(repositoryKey(repository), error);
      }
    }
  }

  /** Compares both sides by digest. */
  async *differences(
    rule: SyncRule,
    source: SyncSource,
    signal: AbortSignal,
  ): AsyncGenerator<Difference, void> {
    for await (const repository of this.#selected(rule, source, signal)) {
      const there = this.#wanted(rule, await source.tags(repository, signal));
      const here = await this.#here(repository);
      for (const { tag, digest } of there) {
        if (here.get(tag) === digest && (await this.#isWhole(repository, digest))) continue;
        yield { repository, tag, here: here.get(tag), there: digest };
      }
    }
  }

  /** Whether a rule is about that repository. */
  static selects({ repositories }: SyncRule, repository: Repository): boolean {
    return picomatch.isMatch(repositoryKey(repository), [...repositories]);
  }

  async #copy(
    rule: SyncRule,
    source: SyncSource,
    repository: Repository,
    work: Work,
    only: ReadonlySet<string> | undefined,
  ): Promise<void> {
    const all = await source.tags(repository, work.signal);
    const wanted = this.#wanted(rule, all).filter(({ tag }) => only?.has(tag) ?? true);
    const here = await this.#here(repository);
    work.advance({ imagesTotal: wanted.length });
    for (const { tag, digest } of wanted) {
      work.signal.throwIfAborted();
      if (here.get(tag) === digest && (await this.#isWhole(repository, digest))) {
        work.advance({ imagesDone: 1 });
        continue;
      }
      const { platforms, referrers, bandwidth } = rule;
      const images = { images: [], platforms, referrers, bandwidth, priority: 'sync' as const };
      const brought = await this.#parts.prewarm.bring(repository, { digest }, images, work);
      if (brought === undefined || work.isDryRun) continue;
      await this.#parts.manifests.adopt(repository, tag, digest);
    }
    if (rule.deletions === 'propagate') await this.#delete(rule, repository, all, here, work, only);
  }

  async #delete(
    rule: SyncRule,
    repository: Repository,
    there: readonly SourceTag[],
    here: ReadonlyMap<string, Digest>,
    work: Work,
    only: ReadonlySet<string> | undefined,
  ): Promise<void> {
    const kept = new Set(there.map(({ tag }) => tag));
    const gone = [...here.keys()].filter((tag) => !kept.has(tag) && (only?.has(tag) ?? true));
    for (const tag of selectTags(gone, { ...rule.tags, newest: undefined })) {
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

  #wanted({ tags }: SyncRule, all: readonly SourceTag[]): SourceTag[] {
    const chosen = new Set(
      selectTags(
        all.map(({ tag }) => tag),
        tags,
      ),
    );
    return all.filter(({ tag }) => chosen.has(tag));
  }

  async #here(repository: Repository): Promise<Map<string, Digest>> {
    const here = new Map<string, Digest>();
    for await (const { tag, record } of this.#parts.tags.walk(repository))
      here.set(tag, record.digest);
    return here;
  }

  #isWhole(repository: Repository, digest: Digest): Promise<boolean> {
    return this.#parts.manifests.isWhole(repository, digest);
  }
}

function groupByRepository(images: readonly ImageName[]): Map<string, Set<string>> {
  const groups = new Map<string, Set<string>>();
  for (const { repository, tag } of images) {
    const key = repositoryKey(repository);
    groups.set(key, (groups.get(key) ?? new Set()).add(tag));
  }
  return groups;
}

function repositoryOf(key: string): Repository {
  const slash = key.indexOf('/');
  return { registry: key.slice(0, slash), name: key.slice(slash + 1) };
}

import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { TagRecord, TagStore } from '../store/names.ts';
import type { TagAge } from './freshness.ts';

/** Tags whose age this process knows; each some hundred bytes. */
const tagsMax = 100_000;

export interface KnownTag {
  readonly record: TagRecord;
  /** On the monotonic scale; undefined: confirmed in an earlier process only. */
  readonly checkedMs: number | undefined;
}

/** What is known of tags: the records of the names, and since when this process knows them to be right. */
export class KnownTags {
  readonly #records: TagStore;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, KnownTag>({ max: tagsMax });

  readonly #onMoved: (repository: Repository) => void;

  /** @param onMoved is told when a tag names something else than before */
  constructor(records: TagStore, clock: Clock, onMoved: (repository: Repository) => void) {
    this.#records = records;
    this.#clock = clock;
    this.#onMoved = onMoved;
  }

  /** Without a query. */
  findHot(repository: Repository, tag: string): KnownTag | undefined {
    return this.#known.get(`${repositoryKey(repository)}:${tag}`);
  }

  async find(repository: Repository, tag: string): Promise<KnownTag | undefined> {
    const hot = this.findHot(repository, tag);
    if (hot !== undefined) return hot;
    const record = await this.#records.find(repository, tag);
    if (record === undefined) return undefined;
    const found = { record, checkedMs: undefined };
    this.#known.set(`${repositoryKey(repository)}:${tag}`, found);
    return found;
  }

  /** Upstream says that the tag names this now. */
  async seen(repository: Repository, tag: string, descriptor: Descriptor): Promise<void> {
    const checkedMs = this.#clock.monotonicMs();
    const before = this.findHot(repository, tag);
    const record = await this.#records.seen(repository, tag, descriptor, this.#clock.wallMs());
    if (before?.record.digest !== record.digest) this.#onMoved(repository);
    this.#known.set(`${repositoryKey(repository)}:${tag}`, { record, checkedMs });
  }

  /** Its record was changed by somebody else: nobody has confirmed it in this process. */
  reread(repository: Repository, tag: string): void {
    this.#known.delete(`${repositoryKey(repository)}:${tag}`);
  }

  async forget(repository: Repository, tag: string): Promise<void> {
    this.#known.delete(`${repositoryKey(repository)}:${tag}`);
    await this.#records.remove(repository, tag);
  }

  ageOf({ record, checkedMs }: KnownTag): TagAge {
    return {
      sinceCheckMs: checkedMs === undefined ? undefined : this.#clock.monotonicMs() - checkedMs,
      wallAgeMs: this.#clock.wallMs() - record.checkedMs,
    };
  }
}

import { LRUCache } from 'lru-cache';
import type { ByteRange } from '../base/intervals.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, type MirrorError } from '../oci/errors.ts';
import { referenceText, type Reference } from '../oci/reference.ts';
import type {
  Arrived,
  BlobBody,
  FetchedManifest,
  Listed,
  Resolved,
  Upstream,
  Wait,
} from '../upstream/upstream.ts';
import type { Quota } from '../upstream/quota.ts';
import type { LimitPause } from '../upstream/cooldown.ts';

/** How long whoever sent something wrong is asked for it last, and of how much that is known. */
const wrongMs = 10 * 60_000;
const wrongMax = 10_000;

/**
 * An upstream behind a primary site: what is asked goes to the primary, and to the upstream itself when
 * the primary is away, or does not have it, or refuses it. Each keeps its own logins, connections and
 * memory of outages; a blob that breaks off at one goes on at the other, since every part of it is asked
 * for in the same way. Whichever was wrong last about something is asked last for it, for a while.
 */
export class PrimaryFirst implements Upstream {
  readonly #primary: Upstream;
  readonly #own: Upstream;
  /** Who has sent something wrong last. */
  readonly #wrong = new LRUCache<string, Upstream>({ max: wrongMax, ttl: wrongMs });

  constructor(primary: Upstream, own: Upstream) {
    this.#primary = primary;
    this.#own = own;
  }

  get registry(): string {
    return this.#own.registry;
  }

  get isDown(): boolean {
    return this.#primary.isDown && this.#own.isDown;
  }

  get quotas(): readonly Quota[] {
    return this.#own.quotas;
  }

  get pauses(): readonly LimitPause[] {
    return this.#own.pauses;
  }

  fetchManifest(name: string, reference: Reference, wait: Wait): Promise<FetchedManifest> {
    const key = manifestKey(name, reference);
    return this.#fetch(key, (upstream) => upstream.fetchManifest(name, reference, wait), wait);
  }

  resolve(name: string, reference: Reference, wait: Wait): Promise<Resolved> {
    const first = this.#firstFor(manifestKey(name, reference));
    return this.#ask((upstream) => upstream.resolve(name, reference, wait), wait, first);
  }

  fetchBlob(
    name: string,
    digest: Digest,
    part: ByteRange | undefined,
    wait: Wait,
  ): Promise<BlobBody> {
    return this.#fetch(digest, (upstream) => upstream.fetchBlob(name, digest, part, wait), wait);
  }

  describeBlob(
    name: string,
    digest: Digest,
    wait: Wait,
  ): Promise<{ sizeBytes: number | undefined }> {
    const first = this.#firstFor(digest);
    return this.#ask((upstream) => upstream.describeBlob(name, digest, wait), wait, first);
  }

  listTags(name: string, wait: Wait, arrived?: Arrived): Promise<Listed<string>> {
    return this.#ask((upstream) => upstream.listTags(name, wait, arrived), wait);
  }

  referrers(name: string, digest: Digest, wait: Wait): Promise<Listed<unknown> | undefined> {
    return this.#ask((upstream) => upstream.referrers(name, digest, wait), wait);
  }

  /** As `#ask`, for content, which may turn out to be wrong. */
  #fetch<T extends { readonly distrust: () => boolean }>(
    key: string,
    ask: (upstream: Upstream) => Promise<T>,
    wait: Wait,
  ): Promise<T> {
    const askMarked = async (upstream: Upstream): Promise<T> => {
      const answer = await ask(upstream);
      const distrust = (): boolean => {
        this.#wrong.set(key, upstream);
        answer.distrust();
        return true;
      };
      return { ...answer, distrust };
    };
    return this.#ask(askMarked, wait, this.#firstFor(key));
  }

  #firstFor(key: string): Upstream {
    return this.#wrong.get(key) === this.#primary ? this.#own : this.#primary;
  }

  /** The answer of the one, or else of the other. */
  async #ask<T>(
    ask: (upstream: Upstream) => Promise<T>,
    { signal }: Wait,
    first: Upstream = this.#primary,
  ): Promise<T> {
    const failures = new Map<Upstream, MirrorError>();
    for (const upstream of first === this.#own ? [first, this.#primary] : [first, this.#own]) {
      try {
        return await ask(upstream);
      } catch (error) {
        signal?.throwIfAborted();
        if (!isMirrorError(error)) throw error;
        failures.set(upstream, error);
      }
    }
    const ofPrimary = failures.get(this.#primary)!;
    const ofOwn = failures.get(this.#own)!;
    // What upstream does not have, the primary may: that it is missing is not known.
    const mayHave = !isMissing(ofPrimary) && ofPrimary.code !== 'DENIED';
    throw mayHave && isMissing(ofOwn) ? ofPrimary : ofOwn;
  }
}

function manifestKey(name: string, reference: Reference): string {
  return `${name}:${referenceText(reference)}`;
}

function isMissing({ code }: MirrorError): boolean {
  return code === 'BLOB_UNKNOWN' || code === 'MANIFEST_UNKNOWN' || code === 'NAME_UNKNOWN';
}

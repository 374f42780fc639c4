import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { ByteRange } from '../base/intervals.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, type MirrorError } from '../oci/errors.ts';
import { referenceText, type Reference } from '../oci/reference.ts';
import type { LinkStore } from '../store/names.ts';
import type { LimitPause } from '../upstream/cooldown.ts';
import type { Quota } from '../upstream/quota.ts';
import { isCertain } from '../upstream/refusal.ts';
import type {
  Arrived,
  BlobBody,
  FetchedManifest,
  Listed,
  Resolved,
  Upstream,
  Wait,
} from '../upstream/upstream.ts';

/** Refusals kept, some 300 bytes each; the least recently used goes first. */
const refusalsMax = 10_000;

interface Refusal {
  readonly error: MirrorError;
  /** Whom upstream told so; another login may be answered otherwise. */
  readonly account: string;
  readonly sinceMs: number;
}

/**
 * An upstream that remembers for a short while what its registry does not have, so that a client that
 * asks again and again costs upstream one request.
 *
 * Nothing else is remembered: not a 401 or 403, which somebody may be mending, not a 404 that is not
 * the registry's own word, not a time-out, not a 5xx, not a 429. A digest that a cached manifest
 * names is asked for each time, since the next one may find it, and so is what prewarming and sync
 * want, which are told of new content before clients are.
 */
export class RememberingUpstream implements Upstream {
  readonly registry: string;
  readonly #upstream: Upstream;
  readonly #links: LinkStore;
  readonly #clock: Clock;
  readonly #observe: Observe;
  readonly #account: () => Promise<string>;
  readonly #ttlMs: number;
  readonly #refusals = new LRUCache<string, Refusal>({ max: refusalsMax });

  constructor(
    upstream: Upstream,
    parts: {
      readonly links: LinkStore;
      readonly clock: Clock;
      readonly observe: Observe;
      /** Stands for the login that is used now: never shown, another one for another login. */
      readonly account: () => Promise<string>;
      /** 0: nothing is remembered. */
      readonly ttlMs: number;
    },
  ) {
    this.registry = upstream.registry;
    this.#upstream = upstream;
    this.#links = parts.links;
    this.#clock = parts.clock;
    this.#observe = parts.observe;
    this.#account = parts.account;
    this.#ttlMs = parts.ttlMs;
  }

  get isDown(): boolean {
    return this.#upstream.isDown;
  }

  get quotas(): readonly Quota[] {
    return this.#upstream.quotas;
  }

  get pauses(): readonly LimitPause[] {
    return this.#upstream.pauses;
  }

  fetchManifest(name: string, reference: Reference, wait: Wait): Promise<FetchedManifest> {
    return this.#ask(manifestKey(name, reference), name, reference.digest, wait, () =>
      this.#upstream.fetchManifest(name, reference, wait),
    );
  }

  resolve(name: string, reference: Reference, wait: Wait): Promise<Resolved> {
    return this.#ask(manifestKey(name, reference), name, reference.digest, wait, () =>
      this.#upstream.resolve(name, reference, wait),
    );
  }

  fetchBlob(
    name: string,
    digest: Digest,
    part: ByteRange | undefined,
    wait: Wait,
  ): Promise<BlobBody> {
    return this.#ask(blobKey(name, digest), name, digest, wait, () =>
      this.#upstream.fetchBlob(name, digest, part, wait),
    );
  }

  describeBlob(
    name: string,
    digest: Digest,
    wait: Wait,
  ): Promise<{ sizeBytes: number | undefined }> {
    return this.#ask(blobKey(name, digest), name, digest, wait, () =>
      this.#upstream.describeBlob(name, digest, wait),
    );
  }

  listTags(name: string, wait: Wait, arrived?: Arrived): Promise<Listed<string>> {
    // A list that stands back is for a client all the same.
    const { knownMs } = wait;
    return this.#ask(`tags ${name}`, name, undefined, { knownMs }, () =>
      this.#upstream.listTags(name, wait, arrived),
    );
  }

  referrers(name: string, digest: Digest, wait: Wait): Promise<Listed<unknown> | undefined> {
    return this.#upstream.referrers(name, digest, wait);
  }

  async #ask<T>(
    key: string,
    name: string,
    digest: Digest | undefined,
    wait: Wait,
    ask: () => Promise<T>,
  ): Promise<T> {
    const refusal = this.#refusals.get(key);
    if (refusal !== undefined) {
      if ((await this.#holds(refusal, wait)) && !(await this.#isNamed(name, digest))) {
        this.#observe({ kind: 'refusal-remembered', registry: this.registry, key });
        throw refusal.error;
      }
      this.#refusals.delete(key);
    }
    try {
      const answer = await ask();
      this.#refusals.delete(key);
      return answer;
    } catch (error) {
      await this.#remember(key, name, digest, error);
      throw error;
    }
  }

  /** Whether a cached manifest of that repository names the digest. */
  async #isNamed(name: string, digest: Digest | undefined): Promise<boolean> {
    if (digest === undefined) return false;
    return (await this.#links.find({ registry: this.registry, name }, digest)) !== undefined;
  }

  async #holds({ account, sinceMs }: Refusal, wait: Wait): Promise<boolean> {
    const { priority, knownMs = -Infinity } = wait;
    const isOver = this.#clock.monotonicMs() >= sinceMs + this.#ttlMs;
    if (isOver || knownMs >= sinceMs) return false;
    const who = priority?.() ?? 'client';
    if (who === 'prewarm' || who === 'sync') return false;
    return account === (await this.#accountNow());
  }

  async #remember(
    key: string,
    name: string,
    digest: Digest | undefined,
    error: unknown,
  ): Promise<void> {
    if (this.#ttlMs === 0) return;
    if (!isMirrorError(error, 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN', 'NAME_UNKNOWN')) return;
    if (!isCertain(error)) return;
    if (await this.#isNamed(name, digest)) return;
    const account = await this.#accountNow();
    if (account === undefined) return;
    this.#refusals.set(key, { error, account, sinceMs: this.#clock.monotonicMs() });
  }

  /** Undefined when the login cannot be read: whoever asks upstream then hears why. */
  async #accountNow(): Promise<string | undefined> {
    return this.#account().catch(() => undefined);
  }
}

function manifestKey(name: string, reference: Reference): string {
  return `manifest ${name} ${referenceText(reference)}`;
}

function blobKey(name: string, digest: Digest): string {
  return `blob ${name} ${digest}`;
}

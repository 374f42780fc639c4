import type { Upstream } from '../upstream/upstream.ts';
import type { FillPolicy } from './fill-parts.ts';
import type { TagPolicy } from './freshness.ts';

/** An upstream and what its settings say about what is taken from it. */
export interface MirroredUpstream {
  readonly upstream: Upstream;
  readonly fill: FillPolicy;
  readonly tags: TagPolicy;
  /** How long an answer's headers may take. */
  readonly headersTimeoutMs: number;
  /** For the HEAD that asks whether a tag moved, when there is a copy to fall back to. */
  readonly revalidateTimeoutMs: number;
  /** Never asked, by setting. */
  readonly isOffline: boolean;
  readonly readAhead: boolean;
  /** Infinity: what it did not have a moment ago is asked for all the same; see `Wait`. */
  readonly knownMs?: number | undefined;
}

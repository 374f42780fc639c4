import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { Priority } from '../base/limiter.ts';
import type { TokenBucket } from '../base/token-bucket.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../oci/reference.ts';
import type { BlobStore } from '../store/blob-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { LanePace } from './lane.ts';

/** What an upstream's settings say about fills. Bytes, bytes a second, milliseconds. */
export interface FillPolicy extends LanePace {
  readonly connectionsPerBlob: number;
  /** Shared by all that is fetched from this upstream; undefined: no limit. */
  readonly bandwidth: TokenBucket | undefined;
}

/** What a fill works with. */
export interface FillParts {
  readonly repository: Repository;
  readonly digest: Digest;
  /** From the manifest that names it. */
  readonly expectedBytes: number | undefined;
  readonly upstream: Upstream;
  readonly policy: FillPolicy;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly observe: Observe;
  /** Who asked first, if nobody joins. */
  readonly reason: Priority;
}

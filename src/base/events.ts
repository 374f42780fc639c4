/**
 * The facts that parts below `app` state. Logs, metrics and the admin pages are consumers; no part
 * imports a logger. Times in milliseconds, sizes in bytes.
 */
export type Event =
  | RequestEvent
  | {
      readonly kind: 'fill-started';
      readonly digest: string;
      readonly repository: string;
      readonly reason: 'client' | 'read-ahead';
    }
  | {
      readonly kind: 'fill-committed';
      readonly digest: string;
      readonly repository: string;
      readonly sizeBytes: number;
      readonly fetchedBytes: number;
      readonly connections: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'fill-failed';
      readonly digest: string;
      readonly repository: string;
      readonly code: string;
      readonly message: string;
      readonly fetchedBytes: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'fill-resumed';
      readonly digest: string;
      readonly repository: string;
      readonly offset: number;
      readonly reason: string;
      readonly attempt: number;
    }
  | {
      readonly kind: 'fill-uncached';
      readonly digest: string;
      readonly repository: string;
      readonly message: string;
    }
  | {
      readonly kind: 'upstream-answered';
      readonly registry: string;
      readonly url: string;
      readonly method: string;
      readonly what: 'manifest' | 'blob' | 'tags' | 'referrers' | 'token';
      readonly status: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'upstream-unreachable';
      readonly registry: string;
      readonly url: string;
      readonly message: string;
    }
  | {
      readonly kind: 'breaker-changed';
      readonly registry: string;
      readonly state: 'open' | 'closed';
      readonly message: string;
    }
  | {
      readonly kind: 'served-stale';
      readonly repository: string;
      readonly reference: string;
      readonly message: string;
    }
  | { readonly kind: 'evicted'; readonly digest: string; readonly sizeBytes: number }
  | { readonly kind: 'store-failed'; readonly operation: string; readonly message: string }
  | {
      readonly kind: 'store-ready';
      readonly blobs: number;
      readonly sizeBytes: number;
      readonly removedPartials: number;
      readonly foreignFiles: number;
      readonly durationMs: number;
    }
  | { readonly kind: 'names-failed'; readonly operation: string; readonly message: string }
  | { readonly kind: 'bug'; readonly where: string; readonly error: unknown };

/** One answered request of the registry door. */
export interface RequestEvent {
  readonly kind: 'request';
  readonly method: string;
  readonly what: 'ping' | 'manifest' | 'blob' | 'tags' | 'referrers' | 'catalog' | 'other';
  readonly repository: string | undefined;
  readonly reference: string | undefined;
  readonly status: number;
  /** X-Cache of the answer; undefined where no cache was asked. */
  readonly outcome: Outcome | undefined;
  readonly sentBytes: number;
  readonly durationMs: number;
  readonly client: string;
  /** The client left before the body was whole: normal with parallel fetches, not an error. */
  readonly aborted: boolean;
  readonly errorCode: string | undefined;
  readonly errorMessage: string | undefined;
}

/** How an answer came about; the value of `X-Cache`. */
export type Outcome = 'HIT' | 'MISS' | 'JOINED' | 'REVALIDATED' | 'STALE';

export type Observe = (event: Event) => void;

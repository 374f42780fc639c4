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

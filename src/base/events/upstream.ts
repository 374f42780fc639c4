/** What happens between here and an upstream. */
export type UpstreamEvent =
  | {
      readonly kind: 'upstream-answered';
      readonly registry: string;
      readonly url: string;
      readonly method: string;
      readonly what: 'manifest' | 'blob' | 'tags' | 'referrers' | 'token' | 'ping';
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
      /** An answer named a place where nothing is sent: a private address, a foreign host. */
      readonly kind: 'upstream-refused';
      readonly registry: string;
      readonly host: string;
      readonly what: 'manifest' | 'blob' | 'tags' | 'referrers' | 'token' | 'ping';
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
    };

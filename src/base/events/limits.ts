/** What an upstream allows us, as its answers say. */
export type LimitEvent =
  | {
      /** The pull quota of an account changed. Undefined: upstream did not say. */
      readonly kind: 'quota-seen';
      readonly registry: string;
      readonly account: string;
      readonly source: string | undefined;
      readonly limit: number | undefined;
      readonly remaining: number | undefined;
      readonly windowSeconds: number | undefined;
    }
  | {
      /** Upstream answered 429: nothing of that scope is asked until the pause is over. */
      readonly kind: 'upstream-limited';
      readonly registry: string;
      /** Of another host that upstream sends us to: what is there, and nothing else, is left alone. */
      readonly host?: string;
      readonly scope: 'pulls' | 'blobs' | 'referrers' | 'all';
      readonly pauseSeconds: number;
    }
  | {
      /** A client asked for what upstream said a moment ago it does not have. */
      readonly kind: 'refusal-remembered';
      readonly registry: string;
      readonly key: string;
    };

import type { MirrorError } from '../oci/errors.ts';
import { isCertain } from '../upstream/refusal.ts';

/** How long tags may live, and what to do when upstream no longer gives them; per upstream. */
export interface TagPolicy {
  /** A tag younger than this is served without asking. */
  readonly tagTtlMs: number;
  /** How old a tag may be when upstream cannot answer; Infinity: forever. */
  readonly maxStaleMs: number;
  /** Upstream says 404 for what is here. */
  readonly onGone: 'serve' | 'warn' | 'deny';
  /** Upstream says 401 or 403 for what is here. */
  readonly onDenied: 'deny' | 'serve';
}

/** What is known of a tag when somebody asks for it. */
export interface TagAge {
  /** Since upstream last confirmed it, on the monotonic scale; undefined before the first time in this process. */
  readonly sinceCheckMs: number | undefined;
  /** The same by the wall clock, which outlives the process. */
  readonly wallAgeMs: number;
}

/** `serve` without asking, or ask upstream (`revalidate`). */
export function freshnessOf(age: TagAge, policy: TagPolicy): 'serve' | 'revalidate' {
  return age.sinceCheckMs !== undefined && age.sinceCheckMs < policy.tagTtlMs
    ? 'serve'
    : 'revalidate';
}

/** What upstream's answer to the revalidation was. */
export type AskFailure = 'gone' | 'denied' | 'failed';

/** Whether the copy may be served after upstream did not confirm it; `warn` serves it with a warning. */
export function afterAskFailed(
  failure: AskFailure,
  age: TagAge,
  policy: TagPolicy,
): 'serve' | 'warn' | 'refuse' {
  switch (failure) {
    case 'gone':
      return policy.onGone === 'deny' ? 'refuse' : policy.onGone;
    case 'denied':
      return policy.onDenied === 'deny' ? 'refuse' : 'warn';
    case 'failed':
      // A clock that is set anew makes nothing older that this process has seen confirmed.
      return (age.sinceCheckMs ?? age.wallAgeMs) <= policy.maxStaleMs ? 'warn' : 'refuse';
  }
}

/** What an error of upstream says about a tag. */
export function failureOf(error: MirrorError): AskFailure {
  if (error.code === 'MANIFEST_UNKNOWN' && isCertain(error)) return 'gone';
  return error.code === 'DENIED' ? 'denied' : 'failed';
}

import { isMirrorError, MirrorError } from '../oci/errors.ts';

/** What to do after one transfer from upstream broke or could not start. */
export type Decision =
  | { readonly do: 'again'; readonly afterMs: number }
  | { readonly do: 'give up' };

/** Attempts in a row that bring nothing; with the waits between them 1.3 seconds. */
const attemptsMax = 4;

/** As much, of a transfer that clients have a part of: 4 seconds, in which a server starts again. */
const attemptsMaxUnderWay = 5;

/** The wait before the second attempt; it triples. */
const firstWaitMs = 100;

/** A limit that ends sooner than this is waited for; a longer one is the client's to know. */
const retryAfterMaxSeconds = 5;

/**
 * Goes on as long as it makes progress: an attempt that brought bytes starts the count anew.
 * @param attempts how many in a row brought nothing, this one included; 0 when this one brought some
 * @param isUnderWay whether clients have a part already, and cannot go elsewhere without a break
 */
export function afterFailure(error: unknown, attempts: number, isUnderWay = false): Decision {
  if (attempts >= (isUnderWay ? attemptsMaxUnderWay : attemptsMax)) return { do: 'give up' };
  if (isMirrorError(error, 'UPSTREAM_LIMITED', 'UPSTREAM_UNAVAILABLE')) {
    const afterSeconds = error.retryAfterSeconds ?? 0;
    if (error.code === 'UPSTREAM_LIMITED' && afterSeconds > retryAfterMaxSeconds)
      return { do: 'give up' };
    const waitMs = firstWaitMs * 3 ** Math.max(0, attempts - 1);
    return {
      do: 'again',
      afterMs: Math.max(waitMs, Math.min(afterSeconds, retryAfterMaxSeconds) * 1000),
    };
  }
  return { do: 'give up' };
}

/** Sleeps; rejects with the signal's reason. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    const leave = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', leave);
      resolve();
    }, ms);
    signal.addEventListener('abort', leave, { once: true });
  });
}

/** The result, or the error when it is not there in time; it may come later, to nobody. */
export async function within<T>(
  result: Promise<T>,
  ms: number,
  error: () => MirrorError,
): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(error()), ms);
  result.catch(() => {});
  try {
    return await Promise.race([result, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A body that breaks throws what the network library has; here it becomes upstream's failure. */
export function asUpstreamError(error: unknown): unknown {
  if (isMirrorError(error)) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new MirrorError('UPSTREAM_UNAVAILABLE', `the transfer from upstream broke: ${why}`, {
    cause: error,
  });
}

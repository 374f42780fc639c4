import type { Work } from '../../base/work.ts';
import { isMirrorError } from '../../oci/errors.ts';
import { afterFailure, pause } from '../retry.ts';

/** The wait before the second attempt; it quadruples: 1, 4 and 16 seconds for a blob. */
const backOffMs = 1_000;

/** However long upstream wants to be left alone, it is tried again by then. */
const limitedMaxMs = 15 * 60_000;

/**
 * Tries again what another attempt may bring: after a pause, or when upstream limits us, as long as it
 * says. The work's log has each failure, and why it waits.
 * @param what an image or a blob, for the log
 * @throws what the last attempt failed with; the reason of the work's signal
 */
export async function persist<T>(
  work: Work,
  what: string,
  attemptsMax: number,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let count = 1; ; count += 1) {
    try {
      return await attempt();
    } catch (error) {
      work.signal.throwIfAborted();
      const isLimited = isMirrorError(error, 'UPSTREAM_LIMITED');
      // What upstream does not have, or refuses, it will not have a second later.
      const isVain = !isLimited && afterFailure(error, 0).do === 'give up';
      if (count === attemptsMax || isVain) throw error;
      const { message } = error as Error;
      work.log(`${what}: ${message}; attempt ${count + 1} follows`);
      const waitMs = backOffMs * 4 ** (count - 1);
      if (!isLimited) {
        await pause(waitMs, work.signal);
        continue;
      }
      const askedMs = Math.min((error.retryAfterSeconds ?? 0) * 1000, limitedMaxMs);
      await work.wait(message, pause(Math.max(waitMs, askedMs), work.signal));
    }
  }
}

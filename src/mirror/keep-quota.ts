import type { Work } from '../base/work.ts';
import type { Reference } from '../oci/reference.ts';
import type { Quota } from '../upstream/quota.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { pause } from './retry.ts';

/** A window frees pulls as they grow old: so often in a window it is looked at again. */
const looksInWindow = 20;

/** Between two looks; a HEAD each, which no registry counts as a pull. */
const lookMs = { least: 1_000, most: 5 * 60_000 };

/** When upstream does not say how long its window is; Docker Hub's. */
const windowSecondsDefault = 21_600;

/** Whether a task that leaves `keep` pulls to clients may pull now. */
export type QuotaDecision =
  | { readonly do: 'pull' }
  | { readonly do: 'wait'; readonly forMs: number; readonly reason: string };

/**
 * @param quota of the account that is used; without one, or when upstream names no limit, nothing is
 *   kept back
 */
export function decideByQuota(quota: Quota | undefined, keep: number): QuotaDecision {
  if (keep === 0 || quota?.remaining === undefined || quota.remaining > keep) return { do: 'pull' };
  const windowSeconds = quota.windowSeconds ?? windowSecondsDefault;
  const forMs = Math.min(
    Math.max((windowSeconds * 1000) / looksInWindow, lookMs.least),
    lookMs.most,
  );
  const limit = quota.limit === undefined ? '' : ` of ${quota.limit}`;
  const reason = `${quota.remaining}${limit} pulls are left for ${quota.account}, and ${keep} are kept for clients`;
  return { do: 'wait', forMs, reason };
}

/**
 * Returns when upstream has more than `keep` pulls left, or a primary site has what is wanted, which
 * counts none. Meanwhile the task says that it waits and why, and a HEAD now and then asks how many there
 * are; the first when nothing is known of them yet.
 * @param image what the HEAD asks for
 * @throws the reason of the work's signal; MirrorError when upstream cannot be asked
 */
export async function waitForQuota(
  upstream: Upstream,
  image: { readonly name: string; readonly reference: Reference },
  keep: number,
  work: Work,
): Promise<void> {
  const { signal } = work;
  const decide = (): QuotaDecision => decideByQuota(upstream.quotas.at(-1), keep);
  const look = async (): Promise<boolean> => {
    const before = checksOf(upstream);
    await upstream.resolve(image.name, image.reference, { signal, priority: () => 'prewarm' });
    return checksOf(upstream) > before;
  };
  if (keep === 0 || (upstream.quotas.length > 0 && decide().do === 'pull')) return;
  while (await look()) {
    const decision = decide();
    if (decision.do === 'pull') return;
    const reason = `${upstream.registry}: ${decision.reason}`;
    await work.wait(reason, pause(decision.forMs, signal));
  }
}

/** HEADs that upstream itself has answered. */
function checksOf({ quotas }: Upstream): number {
  return quotas.reduce((sum, { checks }) => sum + checks, 0);
}

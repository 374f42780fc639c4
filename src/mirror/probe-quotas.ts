import type { Work } from '../base/work.ts';
import { repositoryKey } from '../oci/reference.ts';
import type { MirroredUpstream } from './mirrored-upstream.ts';
import type { PopularTag } from './prewarm/popularity.ts';

/**
 * Asks each upstream that limits pulls how many are left, by a HEAD, which no registry counts as one:
 * pulls of others with the same account or address are seen then, too.
 * @param tagOf what the HEAD is for: a tag of that registry that clients pull
 */
export async function probeQuotas(
  upstreams: Iterable<MirroredUpstream>,
  tagOf: (registry: string) => PopularTag | undefined,
  work: Work,
): Promise<void> {
  for (const { upstream, isOffline } of upstreams) {
    const { registry } = upstream;
    if (isOffline || !upstream.quotas.some(({ limit }) => limit !== undefined)) continue;
    const image = tagOf(registry);
    if (image === undefined) continue;
    work.signal.throwIfAborted();
    const { repository, tag } = image;
    if (work.isDryRun) {
      work.log(`${registry} would be asked for ${repositoryKey(repository)}:${tag}`);
      continue;
    }
    try {
      const wait = { signal: work.signal, priority: () => 'prewarm' as const };
      await upstream.resolve(repository.name, { tag }, wait);
      const quota = upstream.quotas.at(-1);
      const { remaining = '?', limit = '?', account = 'anonymous' } = quota ?? {};
      work.log(`${registry}: ${remaining} of ${limit} pulls are left for ${account}`);
    } catch (error) {
      work.signal.throwIfAborted();
      work.fail(registry, error);
    }
  }
}

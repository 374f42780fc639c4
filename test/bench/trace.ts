import { parseDigest } from '../../src/oci/digest.ts';
import {
  evictionPolicies,
  type Eviction,
  type EvictionPolicy,
} from '../../src/store/eviction/eviction.ts';
import { LruEviction } from '../../src/store/eviction/lru.ts';
import { S3FifoEviction } from '../../src/store/eviction/s3-fifo.ts';
import { TieredEviction } from '../../src/store/eviction/tiered.ts';
import { syntheticTrace, type Trace } from './registry-trace.ts';
import type { Figure, Report } from './report.ts';

const shares = [0.01, 0.05, 0.1, 0.2];

const smallTierGainPoints = 15;

/** Hit ratios of the eviction policies on a synthetic trace: a simulation, the same in every run. */
export async function trace(): Promise<Report> {
  const replayed = syntheticTrace('registry trace');
  const figures: Figure[] = [];
  for (const share of shares) {
    const budgetBytes = share * replayed.footprintBytes;
    const rows = new Map<string, number>();
    for (const policy of evictionPolicies) {
      for (const hasSmallTier of [false, true]) {
        const name = `${policy}${hasSmallTier ? ' + small tier' : ''}`;
        const ratios = replay(replayed, evictionOf(policy, hasSmallTier, budgetBytes), budgetBytes);
        rows.set(name, ratios.objects);
        figures.push(
          figure(`${percent(share)}: object hits, ${name}`, ratios.objects),
          figure(`${percent(share)}: byte hits, ${name}`, ratios.bytes),
        );
      }
    }
    if (share !== 0.05) continue;
    const gain = (rows.get('lru + small tier') ?? 0) - (rows.get('lru') ?? 0);
    figures.push({
      name: '5%: what the small tier adds to the object hits of lru',
      unit: 'points',
      values: [gain],
      target: { atLeast: smallTierGainPoints },
    });
  }
  const { requests, objects, footprintBytes } = replayed;
  return {
    title: 'trace',
    notes: [
      `${requests.length} requests for ${objects.length} objects, ${(footprintBytes / 1e12).toFixed(2)} TB in all; budgets are shares of that`,
      'synthetic: sizes as in public studies of registries, independent arrivals; points of 100',
    ],
    figures,
  };
}

function evictionOf(policy: EvictionPolicy, hasSmallTier: boolean, budgetBytes: number): Eviction {
  const tier = (): Eviction => (policy === 'lru' ? new LruEviction() : new S3FifoEviction());
  return hasSmallTier ? new TieredEviction(tier(), tier(), () => budgetBytes) : tier();
}

function replay(
  { requests, objects }: Trace,
  eviction: Eviction,
  budgetBytes: number,
): { objects: number; bytes: number } {
  const digests = objects.map((_, at) =>
    parseDigest(`sha256:${at.toString(16).padStart(64, '0')}`),
  );
  const hits = { objects: 0, bytes: 0 };
  let bytes = 0;
  for (const [time, at] of requests.entries()) {
    const digest = digests[at]!;
    const sizeBytes = objects[at]!;
    bytes += sizeBytes;
    if (eviction.touch(digest, time) !== undefined) {
      hits.objects += 1;
      hits.bytes += sizeBytes;
      continue;
    }
    if (sizeBytes > budgetBytes) continue;
    const over = eviction.usedBytes + sizeBytes - budgetBytes;
    const victims = over > 0 ? eviction.victims(over, () => false) : [];
    for (const victim of victims) eviction.forget(victim.digest);
    eviction.admit({ digest, sizeBytes, occupiedBytes: sizeBytes, usedMs: time });
  }
  return { objects: (100 * hits.objects) / requests.length, bytes: (100 * hits.bytes) / bytes };
}

function figure(name: string, value: number): Figure {
  return { name, unit: 'points', values: [value] };
}

function percent(share: number): string {
  return `${share * 100}%`;
}

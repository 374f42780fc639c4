import type { Quota, Upstream } from '../../api/upstreams.ts';
import { useFormat, useText } from '../session/context.tsx';
import { Badge } from './badge.tsx';

const tones = { up: 'good', down: 'bad', offline: 'calm' } as const;

export function UpstreamState({ state }: { readonly state: Upstream['state'] }) {
  return <Badge tone={tones[state]}>{useText().upstreams.states[state]}</Badge>;
}

/** The scarcest of an upstream's pull quotas. */
export function QuotaText({ quotas }: { readonly quotas: readonly Quota[] }) {
  const text = useText().upstreams;
  const format = useFormat();
  const known = quotas.flatMap(({ limit, remaining }) =>
    limit === null || remaining === null ? [] : [{ limit, remaining }],
  );
  const [scarcest] = known.sort((a, b) => a.remaining - b.remaining);
  if (scarcest === undefined) return <span class="faint">{text.quotaUnknown}</span>;
  return <>{text.quotaLeft(format.count(scarcest.remaining), format.count(scarcest.limit))}</>;
}

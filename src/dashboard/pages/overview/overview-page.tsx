import type { PageOf } from '../../../api/common.ts';
import type { Run } from '../../../api/runs.ts';
import type { History } from '../../../api/stats.ts';
import type { SyncStatus } from '../../../api/sync.ts';
import { Loading } from '../../parts/notices.tsx';
import { PageTitle } from '../../parts/page-title.tsx';
import { useSession, useText } from '../../session/context.tsx';
import { useResource } from '../../session/resource.ts';
import { attentionOf } from './attention.ts';
import { AttentionList } from './attention-list.tsx';
import { DiskPanel } from './disk-panel.tsx';
import { Figures } from './figures.tsx';
import { FillsPanel } from './fills-panel.tsx';
import { ThroughputPanel } from './throughput-panel.tsx';
import { UpstreamsPanel } from './upstreams-panel.tsx';
import { TopImagesPanel } from './top-images-panel.tsx';

/** How often what is not pushed is looked at. */
const lookMs = 10_000;

/** First what is wrong, then what flows, then what there is. */
export function OverviewPage() {
  const { api, live } = useSession();
  const text = useText();
  const stats = live.stats.value;
  const history = useResource(
    'recent',
    (signal) => api.get<History>('stats/history', { query: { window: '15m' }, signal }),
    lookMs,
  );
  const runs = useResource(
    'runs',
    (signal) => api.get<PageOf<Run>>('runs', { query: { limit: 200 }, signal }),
    lookMs,
  );
  const sync = useResource('sync', (signal) => api.get<SyncStatus>('sync', { signal }), lookMs);
  const readiness = useResource('ready', (signal) => api.readiness(signal), lookMs);
  if (stats === undefined) {
    return (
      <>
        <PageTitle>{text.overview.title}</PageTitle>
        <Loading />
      </>
    );
  }
  const items = attentionOf(
    {
      stats,
      history: history.value,
      runs: runs.value?.items ?? [],
      sync: sync.value,
      reasons: readiness.value ?? [],
    },
    Date.now(),
  );
  return (
    <>
      <PageTitle>{text.overview.title}</PageTitle>
      <AttentionList items={items} />
      <Figures stats={stats} />
      <ThroughputPanel uptimeSeconds={stats.uptimeSeconds} />
      <FillsPanel fills={stats.fills} />
      <div class="beside">
        <div class="stack">
          <DiskPanel stats={stats} />
          <UpstreamsPanel upstreams={stats.upstreams} />
        </div>
        <TopImagesPanel images={stats.topImages} />
      </div>
    </>
  );
}

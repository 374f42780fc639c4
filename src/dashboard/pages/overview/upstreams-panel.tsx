import type { Upstream } from '../../../api/upstreams.ts';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';
import { QuotaText, UpstreamState } from '../../parts/upstream.tsx';
import { useFormat, useText } from '../../session/context.tsx';
import { linkTo } from '../../session/route.ts';

/** Whether each upstream answers, how fast, and what it still allows. */
export function UpstreamsPanel({ upstreams }: { readonly upstreams: readonly Upstream[] }) {
  const { upstreams: text, common, nav } = useText();
  const format = useFormat();
  const columns = [
    { title: common.name, isHead: true, cell: ({ name }: Upstream) => name },
    {
      title: common.state,
      cell: ({ state }: Upstream) => <UpstreamState state={state} />,
    },
    {
      title: text.latency,
      isNumber: true,
      cell: ({ requests, averageMs }: Upstream) =>
        requests === 0 ? '–' : format.milliseconds(averageMs),
    },
    {
      title: text.quota,
      isNumber: true,
      cell: ({ quotas }: Upstream) => <QuotaText quotas={quotas} />,
    },
  ];
  return (
    <Panel title={nav.upstreams} aside={<a href={linkTo('upstreams')}>{common.details}</a>}>
      <Table
        caption={nav.upstreams}
        columns={columns}
        rows={upstreams}
        rowKey={({ name }) => name}
      />
    </Panel>
  );
}

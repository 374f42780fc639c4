import type { Stats } from '../../../api/stats.ts';
import { ProgressBar } from '../../parts/meter.tsx';
import { Empty } from '../../parts/notices.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';
import { ShortDigest } from '../../parts/digest.tsx';
import { useFormat, useText } from '../../session/context.tsx';

type Fill = Stats['fills'][number];

/** What is on its way from upstreams. */
export function FillsPanel({ fills }: { readonly fills: readonly Fill[] }) {
  const { overview: text, common } = useText();
  const format = useFormat();
  const rateOf = ({ doneBytes, seconds }: Fill): number => doneBytes / Math.max(seconds, 0.1);
  const columns = [
    {
      title: text.repository,
      isHead: true,
      cell: (fill: Fill) => (
        <>
          {fill.repository} <ShortDigest digest={fill.digest} />
        </>
      ),
    },
    {
      title: common.progress,
      cell: (fill: Fill) => (
        <>
          <ProgressBar
            label={`${fill.repository} ${fill.digest}`}
            done={fill.doneBytes}
            total={fill.sizeBytes ?? undefined}
          />{' '}
          <small>
            {format.bytes(fill.doneBytes)}
            {fill.sizeBytes !== null && ` / ${format.bytes(fill.sizeBytes)}`}
          </small>
        </>
      ),
    },
    {
      title: text.throughput,
      isNumber: true,
      cell: (fill: Fill) => format.rate(rateOf(fill)),
    },
    {
      title: text.remaining,
      isNumber: true,
      cell: (fill: Fill) =>
        fill.sizeBytes === null || fill.doneBytes === 0
          ? '–'
          : format.duration((fill.sizeBytes - fill.doneBytes) / rateOf(fill)),
    },
    { title: text.clients, isNumber: true, cell: (fill: Fill) => format.count(fill.clients) },
    {
      title: text.connections,
      isNumber: true,
      cell: (fill: Fill) => format.count(fill.connections),
    },
    { title: text.reason, cell: (fill: Fill) => text.fillReasons[fill.reason] ?? fill.reason },
  ];
  return (
    <Panel
      title={text.fills}
      aside={
        fills.length > 0 && <span class="aside">{text.fillsCount(format.count(fills.length))}</span>
      }
    >
      {fills.length === 0 ? (
        <Empty>{text.noFills}</Empty>
      ) : (
        <Table
          caption={text.fills}
          columns={columns}
          rows={fills}
          rowKey={({ repository, digest }) => `${repository} ${digest}`}
        />
      )}
    </Panel>
  );
}

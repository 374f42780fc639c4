import type { Stats } from '../../../api/stats.ts';
import { Empty } from '../../parts/notices.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';
import { useFormat, useText } from '../../session/context.tsx';
import { linkTo } from '../../session/route.ts';

type TopImage = Stats['topImages'][number];

/** As many as a person takes in. */
const shownMax = 10;

export function TopImagesPanel({ images }: { readonly images: readonly TopImage[] }) {
  const { overview: text, nav } = useText();
  const format = useFormat();
  const columns = [
    {
      title: text.repository,
      isHead: true,
      cell: ({ repository }: TopImage) => <a href={linkTo('content', repository)}>{repository}</a>,
    },
    { title: text.pulls, isNumber: true, cell: ({ pulls }: TopImage) => format.count(pulls) },
    {
      title: text.served,
      isNumber: true,
      cell: ({ servedBytes }: TopImage) => format.bytes(servedBytes),
    },
    {
      title: text.lastPull,
      isNumber: true,
      cell: ({ lastPullAt }: TopImage) => (
        <time dateTime={lastPullAt} title={format.time(lastPullAt)}>
          {format.ago(lastPullAt, Date.now())}
        </time>
      ),
    },
  ];
  return (
    <Panel title={text.topImages}>
      {images.length === 0 ? (
        <Empty>
          {text.noPulls} <a href={linkTo('set-up')}>{nav.setUp}</a>
        </Empty>
      ) : (
        <Table
          caption={text.topImages}
          columns={columns}
          rows={images.slice(0, shownMax)}
          rowKey={({ repository }) => repository}
        />
      )}
    </Panel>
  );
}

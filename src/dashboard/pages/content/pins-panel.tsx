import { useSignal } from '@preact/signals';
import type { Pin } from '../../../api/care.ts';
import type { PageOf } from '../../../api/common.ts';
import { Loaded } from '../../parts/loaded.tsx';
import { Moment } from '../../parts/moment.tsx';
import { DoneNotice, Empty, ErrorNotice } from '../../parts/notices.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';
import { useAction } from '../../session/action.ts';
import { useFormat, useSession, useText } from '../../session/context.tsx';
import { useResource } from '../../session/resource.ts';

/** Images that are never evicted. */
export function PinsPanel() {
  const { api } = useSession();
  const text = useText().content;
  const format = useFormat();
  const pins = useResource('pins', (signal) => api.get<PageOf<Pin>>('pins', { signal }));
  const action = useAction();
  const unpinned = useSignal<string | undefined>(undefined);
  const columns = [
    { title: text.image, isHead: true, cell: ({ reference }: Pin) => reference },
    { title: text.keeps, isNumber: true, cell: ({ keeps }: Pin) => format.count(keeps) },
    { title: text.pinnedAt, cell: ({ pinnedAt }: Pin) => <Moment at={pinnedAt} /> },
    {
      title: text.unpin,
      isNumber: true,
      cell: ({ reference }: Pin) => (
        <button
          type="button"
          class="small"
          disabled={action.isBusy}
          aria-label={`${text.unpin} ${reference}`}
          onClick={() =>
            action.run(async () => {
              await api.delete('pins', { query: { ref: reference } });
              unpinned.value = reference;
              pins.refresh();
            })
          }
        >
          {text.unpin}
        </button>
      ),
    },
  ];
  return (
    <Panel title={text.pins}>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {unpinned.value !== undefined && <DoneNotice>{text.unpinnedNow(unpinned.value)}</DoneNotice>}
      <Loaded of={pins}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty>{text.noPins}</Empty>
          ) : (
            <Table
              caption={text.pins}
              columns={columns}
              rows={items}
              rowKey={({ reference }) => reference}
            />
          )
        }
      </Loaded>
    </Panel>
  );
}

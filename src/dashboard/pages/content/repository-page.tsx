import { useSignal } from '@preact/signals';
import type { Pin } from '../../../api/care.ts';
import type { PageOf } from '../../../api/common.ts';
import type { Tag } from '../../../api/content.ts';
import { ShortDigest } from '../../parts/digest.tsx';
import { Loaded } from '../../parts/loaded.tsx';
import { Moment } from '../../parts/moment.tsx';
import { More } from '../../parts/more.tsx';
import { DoneNotice, Empty, ErrorNotice } from '../../parts/notices.tsx';
import { PageTitle } from '../../parts/page-title.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';
import { useAction } from '../../session/action.ts';
import { useFormat, useSession, useText } from '../../session/context.tsx';
import { useListing } from '../../session/listing.ts';
import { useResource } from '../../session/resource.ts';
import { linkTo } from '../../session/route.ts';
import { PurgeDialog } from './purge-dialog.tsx';

/** The tags of a repository: what each names, what it named before, and what can be done with it. */
export function RepositoryPage({ name }: { readonly name: string }) {
  const { api } = useSession();
  const { content: text } = useText();
  const format = useFormat();
  const action = useAction();
  const done = useSignal<string | undefined>(undefined);
  const purging = useSignal<string | undefined>(undefined);
  const listing = useListing(`tags ${name}`, (after, signal) =>
    api.get<PageOf<Tag>>(`repositories/${encodeURIComponent(name)}/tags`, {
      query: { after, sizes: 'true' },
      ...(signal === undefined ? {} : { signal }),
    }),
  );
  const pins = useResource('pins', (signal) => api.get<PageOf<Pin>>('pins', { signal }));
  const pinned = new Set(pins.value?.items.map(({ reference }) => reference));
  const switchPin = (reference: string): void =>
    action.run(async () => {
      if (pinned.has(reference)) {
        await api.delete('pins', { query: { ref: reference } });
        done.value = text.unpinnedNow(reference);
      } else {
        await api.post('pins', { body: { reference } });
        done.value = text.pinnedNow(reference);
      }
      pins.refresh();
    });
  const referenceOf = ({ tag }: Tag): string => `${name}:${tag}`;
  const columns = [
    {
      title: text.tag,
      isHead: true,
      cell: (row: Tag) => (
        <>
          <a href={linkTo('content', name, row.digest)}>{row.tag}</a>
          {pinned.has(referenceOf(row)) && <small class="pin"> ★ {text.pinned}</small>}
        </>
      ),
    },
    { title: text.manifest, cell: ({ digest }: Tag) => <ShortDigest digest={digest} /> },
    {
      title: text.stored,
      isNumber: true,
      cell: ({ storedBytes = 0 }: Tag) => format.bytes(storedBytes),
    },
    { title: text.used, cell: ({ usedAt }: Tag) => <Moment at={usedAt} /> },
    { title: text.checked, cell: ({ checkedAt }: Tag) => <Moment at={checkedAt} /> },
    { title: text.history, cell: (row: Tag) => <History name={name} of={row} /> },
    {
      title: text.actions,
      isNumber: true,
      cell: (row: Tag) => {
        const reference = referenceOf(row);
        const pinLabel = pinned.has(reference) ? text.unpin : text.pin;
        return (
          <span class="buttons">
            <button
              type="button"
              class="small"
              disabled={action.isBusy || pins.value === undefined}
              aria-label={`${pinLabel} ${reference}`}
              onClick={() => switchPin(reference)}
            >
              {pinLabel}
            </button>
            <button
              type="button"
              class="small"
              aria-label={text.purgeTitle(reference)}
              onClick={() => {
                purging.value = reference;
              }}
            >
              {text.purge}
            </button>
          </span>
        );
      },
    },
  ];
  return (
    <>
      <PageTitle aside={<a href={linkTo('content')}>{text.repositories}</a>}>{name}</PageTitle>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {done.value !== undefined && <DoneNotice>{done.value}</DoneNotice>}
      <Panel title={text.tags}>
        <Loaded of={listing}>
          {(items) =>
            items.length === 0 ? (
              <Empty>{text.noTags}</Empty>
            ) : (
              <>
                <Table
                  caption={text.tags}
                  columns={columns}
                  rows={items}
                  rowKey={({ tag }) => tag}
                />
              </>
            )
          }
        </Loaded>
        <More of={listing} />
      </Panel>
      {purging.value !== undefined && (
        <PurgeDialog
          reference={purging.value}
          closed={() => {
            purging.value = undefined;
            listing.refresh();
            pins.refresh();
          }}
        />
      )}
    </>
  );
}

/** What a tag named before, the newest first. */
function History({ name, of }: { readonly name: string; readonly of: Tag }) {
  const text = useText().content;
  const format = useFormat();
  const before = of.history.filter(({ digest }) => digest !== of.digest);
  if (before.length === 0) return <span class="faint">–</span>;
  return (
    <details>
      <summary>{text.moments(format.count(before.length))}</summary>
      <ul aria-label={text.historyOf(of.tag)}>
        {before.map(({ digest, firstSeenAt, lastSeenAt }) => (
          <li key={`${digest} ${firstSeenAt}`}>
            <a href={linkTo('content', name, digest)}>
              <ShortDigest digest={digest} />
            </a>{' '}
            <small>
              {text.firstSeen} {format.time(firstSeenAt)}, {text.lastSeen} {format.time(lastSeenAt)}
            </small>
          </li>
        ))}
      </ul>
    </details>
  );
}

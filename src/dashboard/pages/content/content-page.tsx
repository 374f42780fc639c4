import { useSignal } from '@preact/signals';
import type { PageOf } from '../../../api/common.ts';
import type { Repository } from '../../../api/content.ts';
import { Loaded } from '../../parts/loaded.tsx';
import { More } from '../../parts/more.tsx';
import { Empty } from '../../parts/notices.tsx';
import { PageTitle } from '../../parts/page-title.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Table } from '../../parts/table.tsx';
import { useFormat, useSession, useText } from '../../session/context.tsx';
import { useListing } from '../../session/listing.ts';
import { linkTo } from '../../session/route.ts';
import { PinsPanel } from './pins-panel.tsx';
import { PrewarmPanel } from './prewarm-panel.tsx';

/** What is cached, by repository; what is pinned; and a form to fetch more. */
export function ContentPage() {
  const { api } = useSession();
  const { content: text, overview } = useText();
  const format = useFormat();
  const search = useSignal('');
  const listing = useListing(`repositories ${search.value}`, (after, signal) =>
    api.get<PageOf<Repository>>('repositories', {
      query: { search: search.value === '' ? undefined : search.value, after },
      ...(signal === undefined ? {} : { signal }),
    }),
  );
  const columns = [
    {
      title: overview.repository,
      isHead: true,
      cell: ({ name }: Repository) => <a href={linkTo('content', name)}>{name}</a>,
    },
    { title: text.tags, isNumber: true, cell: ({ tags }: Repository) => format.count(tags) },
  ];
  return (
    <>
      <PageTitle>{text.title}</PageTitle>
      <Panel
        title={text.repositories}
        aside={
          <form
            role="search"
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              const wanted = new FormData(event.currentTarget).get('search');
              if (typeof wanted === 'string') search.value = wanted.trim();
            }}
          >
            <input type="search" name="search" aria-label={text.search} placeholder={text.search} />
            <button type="submit">{text.searchButton}</button>
          </form>
        }
      >
        <div aria-live="polite">
          <Loaded of={listing}>
            {(items) =>
              items.length === 0 ? (
                <Empty>
                  {search.value === '' ? text.noRepositories : text.noMatches(search.value)}
                </Empty>
              ) : (
                <Table
                  caption={text.repositories}
                  columns={columns}
                  rows={items}
                  rowKey={({ name }) => name}
                />
              )
            }
          </Loaded>
        </div>
        <More of={listing} />
      </Panel>
      <PrewarmPanel done={listing.refresh} />
      <PinsPanel />
    </>
  );
}

import type { PageOf } from '../../../api/common.ts';
import type { Job, Run } from '../../../api/runs.ts';
import { Loaded } from '../../parts/loaded.tsx';
import { Moment } from '../../parts/moment.tsx';
import { Empty, ErrorNotice } from '../../parts/notices.tsx';
import { PageTitle } from '../../parts/page-title.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RunState } from '../../parts/run.tsx';
import { Table } from '../../parts/table.tsx';
import { useAction } from '../../session/action.ts';
import { useSession, useText } from '../../session/context.tsx';
import { useResource } from '../../session/resource.ts';
import { linkTo } from '../../session/route.ts';
import { RunsTable } from './runs-table.tsx';

/** Runs that are under way move; so often they are looked at. */
const lookMs = 2_000;

/** Jobs that fetch only what they are told; the content page has a form for it. */
const needsImages = new Set(['prewarm']);

/** What can be run, and what has run. */
export function JobsPage() {
  const { api } = useSession();
  const text = useText().jobs;
  const jobs = useResource('jobs', (signal) => api.get<PageOf<Job>>('jobs', { signal }), lookMs);
  const runs = useResource(
    'runs',
    (signal) => api.get<PageOf<Run>>('runs', { query: { limit: 100 }, signal }),
    lookMs,
  );
  const action = useAction();
  const start = (name: string): void =>
    action.run(async () => {
      const { id } = await api.post<Run>(`jobs/${encodeURIComponent(name)}/run`);
      location.hash = linkTo('jobs', id);
    });
  const columns = [
    {
      title: text.job,
      isHead: true,
      cell: ({ name, summary }: Job) => (
        <>
          {name}
          <br />
          <small>{summary}</small>
        </>
      ),
    },
    {
      title: text.schedule,
      cell: ({ schedule, timeZone }: Job) =>
        schedule === null ? (
          <span class="faint">{text.byHand}</span>
        ) : (
          <>
            <code>{schedule}</code> {timeZone !== null && <small>{timeZone}</small>}
          </>
        ),
    },
    {
      title: text.next,
      cell: ({ nextAt }: Job) => (nextAt === null ? '–' : <Moment at={nextAt} />),
    },
    {
      title: text.last,
      cell: ({ lastRun }: Job) =>
        lastRun === null ? (
          '–'
        ) : (
          <a href={linkTo('jobs', lastRun.id)}>
            <RunState run={lastRun} /> <Moment at={lastRun.endedAt ?? lastRun.queuedAt} />
          </a>
        ),
    },
    {
      title: text.run,
      isNumber: true,
      cell: ({ name }: Job) =>
        needsImages.has(name) ? (
          <a href={linkTo('content')}>{text.nameImages}</a>
        ) : (
          <button
            type="button"
            class="small"
            disabled={action.isBusy}
            aria-label={text.runJob(name)}
            onClick={() => start(name)}
          >
            {text.run}
          </button>
        ),
    },
  ];
  return (
    <>
      <PageTitle>{text.title}</PageTitle>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      <Panel title={text.jobs}>
        <Loaded of={jobs}>
          {({ items }) => (
            <Table caption={text.jobs} columns={columns} rows={items} rowKey={({ name }) => name} />
          )}
        </Loaded>
      </Panel>
      <Panel title={text.runs}>
        <Loaded of={runs}>
          {({ items }) =>
            items.length === 0 ? <Empty>{text.noRuns}</Empty> : <RunsTable runs={items} />
          }
        </Loaded>
      </Panel>
    </>
  );
}

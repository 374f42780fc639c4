import type { Run } from '../../../api/runs.ts';
import { Moment } from '../../parts/moment.tsx';
import { RunProgress, RunState } from '../../parts/run.tsx';
import { Table } from '../../parts/table.tsx';
import { useFormat, useText } from '../../session/context.tsx';
import { linkTo } from '../../session/route.ts';

export function RunsTable({ runs }: { readonly runs: readonly Run[] }) {
  const { jobs: text, common } = useText();
  const format = useFormat();
  const columns = [
    {
      title: text.job,
      isHead: true,
      cell: ({ id, job }: Run) => <a href={linkTo('jobs', id)}>{job}</a>,
    },
    { title: common.state, cell: (run: Run) => <RunState run={run} /> },
    { title: common.progress, cell: (run: Run) => <RunProgress run={run} /> },
    { title: text.trigger, cell: ({ trigger }: Run) => text.triggers[trigger] },
    {
      title: text.started,
      cell: ({ startedAt, queuedAt }: Run) => <Moment at={startedAt ?? queuedAt} />,
    },
    {
      title: text.took,
      isNumber: true,
      cell: ({ startedAt, endedAt }: Run) =>
        startedAt === null || endedAt === null
          ? '–'
          : format.duration((Date.parse(endedAt) - Date.parse(startedAt)) / 1000),
    },
    {
      title: text.errors,
      isNumber: true,
      cell: ({ errors }: Run) => format.count(errors.length),
    },
  ];
  return <Table caption={text.runs} columns={columns} rows={runs} rowKey={({ id }) => id} />;
}

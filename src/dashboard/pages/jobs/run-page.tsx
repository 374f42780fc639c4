import type { Run, RunWithLog } from '../../../api/runs.ts';
import { DoneNotice, Empty, ErrorNotice, Loading } from '../../parts/notices.tsx';
import { PageTitle } from '../../parts/page-title.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RunProgress, RunState } from '../../parts/run.tsx';
import { Table } from '../../parts/table.tsx';
import { useSignal } from '@preact/signals';
import { useAction } from '../../session/action.ts';
import { useFormat, useSession, useText } from '../../session/context.tsx';
import { linkTo } from '../../session/route.ts';
import { isOver, useRun } from '../../session/run.ts';

/** One run as it goes: progress, errors, log; it can be cancelled. */
export function RunPage({ id }: { readonly id: string }) {
  const text = useText().jobs;
  const { run, error } = useRun(id);
  if (run === undefined) {
    return (
      <>
        <PageTitle>{text.title}</PageTitle>
        {error === undefined ? <Loading /> : <ErrorNotice error={error} />}
        <a href={linkTo('jobs')}>{text.allRuns}</a>
      </>
    );
  }
  return (
    <>
      <PageTitle aside={<a href={linkTo('jobs')}>{text.allRuns}</a>}>
        {text.runTitle(run.job)}
      </PageTitle>
      {error !== undefined && <ErrorNotice error={error} />}
      <RunFacts run={run} />
      <ErrorsPanel run={run} />
      <LogPanel run={run} />
    </>
  );
}

function RunFacts({ run }: { readonly run: RunWithLog }) {
  const { jobs: text, common } = useText();
  const { api } = useSession();
  const format = useFormat();
  const action = useAction();
  const isCancelled = useSignal(false);
  const { progress, startedAt, endedAt } = run;
  const pair = (done: number, total: number): string =>
    text.of(format.count(done), format.count(total));
  const endMs = endedAt === null ? Date.now() : Date.parse(endedAt);
  const facts = [
    [text.trigger, text.triggers[run.trigger]],
    [text.images, pair(progress.imagesDone, progress.imagesTotal)],
    [text.blobs, pair(progress.blobsDone, progress.blobsTotal)],
    [text.bytes, text.of(format.bytes(progress.bytesDone), format.bytes(progress.bytesTotal))],
    [text.rate, format.rate(run.bytesPerSecond)],
    [text.left, run.secondsLeft === null ? '–' : format.duration(run.secondsLeft)],
    [text.started, startedAt === null ? '–' : format.time(startedAt)],
    [text.took, startedAt === null ? '–' : format.duration((endMs - Date.parse(startedAt)) / 1000)],
  ] as const;
  return (
    <Panel
      title={common.state}
      aside={
        !isOver(run) && (
          <button
            type="button"
            class="danger"
            disabled={action.isBusy}
            aria-label={text.cancelRun(run.job)}
            onClick={() =>
              action.run(async () => {
                await api.delete<Run>(`runs/${encodeURIComponent(run.id)}`);
                isCancelled.value = true;
              })
            }
          >
            {text.cancel}
          </button>
        )
      }
    >
      <p class="line" aria-live="polite">
        <RunState run={run} />
      </p>
      <p class="line">
        <RunProgress run={run} />
      </p>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {isCancelled.value && !isOver(run) && <DoneNotice>{text.cancelled}</DoneNotice>}
      <dl class="facts">
        {facts.map(([title, value]) => (
          <div key={title}>
            <dt>{title}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}

function ErrorsPanel({ run }: { readonly run: RunWithLog }) {
  const text = useText().jobs;
  type Failure = Run['errors'][number];
  const columns = [
    { title: text.object, isHead: true, cell: ({ object }: Failure) => object },
    { title: text.message, cell: ({ message }: Failure) => message },
  ];
  return (
    <Panel title={text.errors}>
      {run.errors.length === 0 ? (
        <Empty>{text.noErrors}</Empty>
      ) : (
        <Table
          caption={text.errors}
          columns={columns}
          rows={run.errors}
          rowKey={({ object, message }) => `${object} ${message}`}
        />
      )}
    </Panel>
  );
}

function LogPanel({ run }: { readonly run: RunWithLog }) {
  const text = useText().jobs;
  const format = useFormat();
  return (
    <Panel title={text.log}>
      {run.log.length === 0 ? (
        <Empty>{text.noLog}</Empty>
      ) : (
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- scrolled by keys
        <pre class="log" role="log" aria-label={text.log} tabIndex={0}>
          {run.log.map(({ at, text: line }) => `${format.clock(at)}  ${line}`).join('\n')}
        </pre>
      )}
    </Panel>
  );
}

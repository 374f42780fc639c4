import type { Diagnosis } from '../../api/doctor.ts';
import type { Stats } from '../../api/stats.ts';
import type { Quota, Upstream } from '../../api/upstreams.ts';
import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { Badge } from '../parts/badge.tsx';
import { Moment } from '../parts/moment.tsx';
import { DoneNotice, Empty, ErrorNotice, Loading } from '../parts/notices.tsx';
import { PageTitle } from '../parts/page-title.tsx';
import { Panel } from '../parts/panel.tsx';
import { Table } from '../parts/table.tsx';
import { UpstreamState } from '../parts/upstream.tsx';
import { useAction } from '../session/action.ts';
import { useFormat, useSession, useText } from '../session/context.tsx';

/** Health, latency and quota of each upstream, and how requests for its content were answered. */
export function UpstreamsPage() {
  const { live } = useSession();
  const text = useText().upstreams;
  const stats = live.stats.value;
  return (
    <>
      <PageTitle>{text.title}</PageTitle>
      {stats === undefined ? (
        <Loading />
      ) : (
        <>
          {stats.upstreams.map((upstream) => (
            <UpstreamPanel key={upstream.name} upstream={upstream} />
          ))}
          <AnswersPanel rows={stats.byUpstream} />
        </>
      )}
      <DoctorPanel />
    </>
  );
}

function UpstreamPanel({ upstream }: { readonly upstream: Upstream }) {
  const { upstreams: text, attention } = useText();
  const format = useFormat();
  const { requests, errors, averageMs, lastError, quotas, pauses, urls } = upstream;
  return (
    <Panel title={upstream.name} aside={<UpstreamState state={upstream.state} />}>
      <dl class="facts">
        <Fact title={text.addresses}>{urls.join(', ')}</Fact>
        <Fact title={text.requests}>{format.count(requests)}</Fact>
        <Fact title={text.errors}>{format.count(errors)}</Fact>
        <Fact title={text.latency}>{requests === 0 ? '–' : format.milliseconds(averageMs)}</Fact>
        {quotas.map((quota) => (
          <Fact key={`${quota.account} ${quota.source}`} title={`${text.quota}: ${quota.account}`}>
            <QuotaFact quota={quota} />
          </Fact>
        ))}
        {lastError !== null && (
          <Fact title={text.lastError}>
            {lastError.message} (<Moment at={lastError.at} />)
          </Fact>
        )}
      </dl>
      {pauses.map(({ scope, secondsLeft }) => (
        <p key={scope} class="notice warn">
          {attention.paused(upstream.name, attention.scopes[scope], format.duration(secondsLeft))}
        </p>
      ))}
    </Panel>
  );
}

function Fact(props: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <div>
      <dt>{props.title}</dt>
      <dd>{props.children}</dd>
    </div>
  );
}

function QuotaFact({ quota }: { readonly quota: Quota }) {
  const text = useText().upstreams;
  const format = useFormat();
  const { limit, remaining, windowSeconds, pulls, checks } = quota;
  const isKnown = limit !== null && remaining !== null;
  return (
    <>
      {isKnown ? text.quotaLeft(format.count(remaining), format.count(limit)) : text.quotaUnknown}
      {windowSeconds !== null && ` ${text.quotaWindow(format.duration(windowSeconds))}`}
      <br />
      <small>{text.quotaCounts(format.count(pulls), format.count(checks))}</small>
    </>
  );
}

function AnswersPanel({ rows }: { readonly rows: Stats['byUpstream'] }) {
  const { upstreams: text, overview } = useText();
  const format = useFormat();
  type Row = Stats['byUpstream'][number];
  const number = (title: string, key: Exclude<keyof Row, 'upstream' | 'kind'>) => ({
    title,
    isNumber: true,
    cell: (row: Row) => format.count(row[key]),
  });
  const columns = [
    { title: text.upstream, isHead: true, cell: ({ upstream }: Row) => upstream },
    { title: text.kind, cell: ({ kind }: Row) => text.kinds[kind] },
    number(text.hits, 'hits'),
    number(text.joined, 'joined'),
    number(text.revalidated, 'revalidated'),
    number(text.misses, 'misses'),
    number(text.stale, 'stale'),
    number(text.errors, 'errors'),
  ];
  return (
    <Panel title={text.answers} aside={<span class="aside">{overview.figures}</span>}>
      {rows.length === 0 ? (
        <Empty>{overview.noRequests}</Empty>
      ) : (
        <Table
          caption={text.answers}
          columns={columns}
          rows={rows}
          rowKey={({ upstream, kind }) => `${upstream} ${kind}`}
        />
      )}
    </Panel>
  );
}

type Finding = Diagnosis['findings'][number];

const findingTones = { ok: 'good', warning: 'warn', failed: 'bad', skipped: 'calm' } as const;

function DoctorPanel() {
  const { api } = useSession();
  const { upstreams: text, common } = useText();
  const action = useAction();
  const found = useSignal<Diagnosis | undefined>(undefined);
  const columns = [
    { title: text.check, isHead: true, cell: ({ check }: Finding) => check },
    { title: text.subject, cell: ({ subject }: Finding) => subject },
    {
      title: common.state,
      cell: ({ state }: Finding) => (
        <Badge tone={findingTones[state]}>{text.findings[state]}</Badge>
      ),
    },
    { title: text.seen, cell: ({ seen }: Finding) => seen },
    { title: text.mend, cell: ({ mend }: Finding) => mend ?? '–' },
  ];
  return (
    <Panel
      title={text.doctor}
      aside={
        <button
          type="button"
          disabled={action.isBusy}
          onClick={() =>
            action.run(async () => {
              found.value = await api.get<Diagnosis>('doctor');
            })
          }
        >
          {action.isBusy ? text.doctorRunning : text.doctorRun}
        </button>
      }
    >
      <p class="detail">{text.doctorExplain}</p>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {found.value !== undefined && (
        <>
          {found.value.isWell ? (
            <DoneNotice>{text.doctorWell}</DoneNotice>
          ) : (
            <p class="notice bad" role="alert">
              {text.doctorNotWell}
            </p>
          )}
          <Table
            caption={text.doctor}
            columns={columns}
            rows={found.value.findings}
            rowKey={({ check, subject }) => `${check} ${subject}`}
          />
        </>
      )}
    </Panel>
  );
}

import type { Run } from '../../api/runs.ts';
import type { SyncStatus, SyncVerification } from '../../api/sync.ts';
import { useSignal } from '@preact/signals';
import { Badge } from '../parts/badge.tsx';
import { ShortDigest } from '../parts/digest.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { Moment } from '../parts/moment.tsx';
import { DoneNotice, Empty, ErrorNotice } from '../parts/notices.tsx';
import { PageTitle } from '../parts/page-title.tsx';
import { Panel } from '../parts/panel.tsx';
import { Table } from '../parts/table.tsx';
import { useAction } from '../session/action.ts';
import { useFormat, useSession, useText } from '../session/context.tsx';
import { useResource } from '../session/resource.ts';
import { linkTo } from '../session/route.ts';
import type { Text } from '../text/english.ts';
import type { Format } from '../text/format.ts';

type Rule = SyncStatus['items'][number];

const lookMs = 5_000;

const tones = { ok: 'good', behind: 'warn', failing: 'bad', unknown: 'calm' } as const;

/** How far this site is behind its primary. */
export function SitesPage() {
  const { api } = useSession();
  const { sites: text, common } = useText();
  const sync = useResource('sync', (signal) => api.get<SyncStatus>('sync', { signal }), lookMs);
  return (
    <>
      <PageTitle>{text.title}</PageTitle>
      <Loaded of={sync}>
        {(status) =>
          status.primary === null && status.items.length === 0 ? (
            <Panel title={status.site ?? text.site}>
              <Empty>{text.alone}</Empty>
            </Panel>
          ) : (
            <>
              <Panel title={status.site ?? text.site}>
                <dl class="facts">
                  <div>
                    <dt>{text.primary}</dt>
                    <dd>{status.primary ?? '–'}</dd>
                  </div>
                  <div>
                    <dt>{text.answered}</dt>
                    <dd>
                      {status.primaryAnsweredAt === null ? (
                        common.never
                      ) : (
                        <Moment at={status.primaryAnsweredAt} />
                      )}
                    </dd>
                  </div>
                </dl>
              </Panel>
              {status.items.length === 0 && <Empty>{text.noRules}</Empty>}
              {status.items.map((rule) => (
                <RulePanel key={rule.name} rule={rule} />
              ))}
              <UndeliveredPanel rules={status.items} />
              <VerifyPanel />
            </>
          )
        }
      </Loaded>
    </>
  );
}

function RulePanel({ rule }: { readonly rule: Rule }) {
  const { api } = useSession();
  const { sites: text, common } = useText();
  const format = useFormat();
  const action = useAction();
  const { name, direction, peer, state, lagChanges, lagSeconds, copied, schedule } = rule;
  const hasLag = lagChanges !== null || lagSeconds !== null;
  const facts = [
    [text.lag, hasLag ? sayLag(rule, text, format) : common.unknown],
    [text.lastSuccess, <Moment key="success" at={rule.lastSuccessAt} />],
    [
      text.copied,
      text.copiedText(
        format.count(copied.images),
        format.bytes(copied.fetchedBytes),
        format.bytes(copied.savedBytes),
      ),
    ],
    [text.peer, `${text.direction[direction]} ${peer}`],
    [text.repositories, rule.repositories.join(', ')],
    [text.when, [schedule, rule.follows ? text.follows : null].filter(Boolean).join(', ') || '–'],
  ] as const;
  return (
    <Panel
      title={name}
      aside={
        <span class="buttons">
          <Badge tone={tones[state]}>{text.states[state]}</Badge>
          <button
            type="button"
            class="small"
            disabled={action.isBusy}
            aria-label={text.syncRule(name)}
            onClick={() =>
              action.run(async () => {
                const { id } = await api.post<Run>(`sync/${encodeURIComponent(name)}`);
                location.hash = linkTo('jobs', id);
              })
            }
          >
            {text.sync}
          </button>
        </span>
      }
    >
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {rule.lastError !== null && (
        <p class={`notice ${state === 'failing' ? 'bad' : 'warn'}`}>{rule.lastError}</p>
      )}
      <dl class="facts">
        {facts.map(([title, fact]) => (
          <div key={title}>
            <dt>{title}</dt>
            <dd>{fact}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}

function sayLag({ lagChanges, lagSeconds }: Rule, text: Text['sites'], format: Format): string {
  return text.lagText(format.count(lagChanges ?? 0), format.duration(lagSeconds ?? 0));
}

/** Shown only when there is something: it is the first thing to look at then. */
function UndeliveredPanel({ rules }: { readonly rules: readonly Rule[] }) {
  const text = useText().sites;
  const format = useFormat();
  const rows = rules.flatMap(({ name, undelivered }) =>
    undelivered.map((one) => ({ rule: name, one })),
  );
  if (rows.length === 0) return null;
  type Row = (typeof rows)[number];
  const columns = [
    { title: text.rule, cell: ({ rule }: Row) => rule },
    {
      title: text.tag,
      isHead: true,
      cell: ({ one }: Row) => nameOf(one) ?? text.allOfRule,
    },
    { title: text.attempts, isNumber: true, cell: ({ one }: Row) => format.count(one.attempts) },
    { title: text.since, cell: ({ one }: Row) => <Moment at={one.since} /> },
    { title: text.retry, cell: ({ one }: Row) => <Moment at={one.retryAt} /> },
    { title: text.error, cell: ({ one }: Row) => one.error },
  ];
  return (
    <Panel title={text.undelivered}>
      <Table
        caption={text.undelivered}
        columns={columns}
        rows={rows}
        rowKey={({ rule, one }) => `${rule} ${one.repository} ${one.tag}`}
      />
    </Panel>
  );
}

function nameOf({ repository, tag }: Rule['undelivered'][number]): string | undefined {
  if (repository === null) return undefined;
  return tag === null ? repository : `${repository}:${tag}`;
}

function VerifyPanel() {
  const { api } = useSession();
  const text = useText().sites;
  const format = useFormat();
  const action = useAction();
  const found = useSignal<SyncVerification | undefined>(undefined);
  type Difference = SyncVerification['items'][number];
  const side = (digest: string | null) => (digest === null ? '–' : <ShortDigest digest={digest} />);
  const columns = [
    { title: text.rule, cell: ({ rule }: Difference) => rule },
    {
      title: text.tag,
      isHead: true,
      cell: ({ repository, tag }: Difference) => `${repository}:${tag}`,
    },
    { title: text.here, cell: ({ here }: Difference) => side(here) },
    { title: text.there, cell: ({ there }: Difference) => side(there) },
  ];
  return (
    <Panel
      title={text.verify}
      aside={
        <button
          type="button"
          disabled={action.isBusy}
          onClick={() =>
            action.run(async () => {
              found.value = await api.get<SyncVerification>('sync/verify');
            })
          }
        >
          {action.isBusy ? text.verifying : text.verify}
        </button>
      }
    >
      <p class="detail">{text.verifyExplain}</p>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {found.value?.isEqual === true && <DoneNotice>{text.equal}</DoneNotice>}
      {found.value?.isEqual === false && (
        <>
          <p class="notice warn" role="status">
            {text.differences(format.count(found.value.items.length))}
          </p>
          <Table
            caption={text.verify}
            columns={columns}
            rows={found.value.items}
            rowKey={({ rule, repository, tag }) => `${rule} ${repository}:${tag}`}
          />
        </>
      )}
    </Panel>
  );
}

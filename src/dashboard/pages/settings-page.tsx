import { Field } from '../parts/field.tsx';
import { Loaded } from '../parts/loaded.tsx';
import { ErrorNotice } from '../parts/notices.tsx';
import { PageTitle } from '../parts/page-title.tsx';
import { Panel } from '../parts/panel.tsx';
import { Snippet } from '../parts/snippet.tsx';
import { useAction } from '../session/action.ts';
import { useFormat, useSession, useText } from '../session/context.tsx';
import { useResource } from '../session/resource.ts';

const levels = ['error', 'warn', 'info', 'debug', 'trace'] as const;

/** The configuration in effect, and what can be changed while the server runs. */
export function SettingsPage() {
  const { api } = useSession();
  const text = useText().settings;
  const config = useResource('config', (signal) => api.get<{ yaml: string }>('config', { signal }));
  return (
    <>
      <PageTitle>{text.title}</PageTitle>
      <ServerPanel />
      <Panel title={text.effective}>
        <p class="detail">{text.explain}</p>
        <Loaded of={config}>
          {({ yaml }) => <Snippet text={yaml.trimEnd()} label={text.effective} />}
        </Loaded>
      </Panel>
    </>
  );
}

function ServerPanel() {
  const { api, live } = useSession();
  const text = useText().settings;
  const format = useFormat();
  const action = useAction();
  const stats = live.stats.value;
  const logLevel = useResource('log-level', (signal) =>
    api.get<{ level: string }>('log-level', { signal }),
  );
  return (
    <Panel title={text.server}>
      <dl class="facts">
        <div>
          <dt>{text.version}</dt>
          <dd>{stats?.version ?? '–'}</dd>
        </div>
        <div>
          <dt>{text.started}</dt>
          <dd>{stats === undefined ? '–' : format.time(stats.startedAt)}</dd>
        </div>
        <div>
          <dt>{text.uptime}</dt>
          <dd>{stats === undefined ? '–' : format.duration(stats.uptimeSeconds)}</dd>
        </div>
      </dl>
      <Loaded of={logLevel}>
        {({ level }) => (
          <Field label={text.logLevel} hint={text.logLevelHint}>
            {(hintId) => (
              <select
                aria-describedby={hintId}
                value={level}
                disabled={action.isBusy}
                onChange={({ currentTarget }) => {
                  const chosen = currentTarget.value;
                  action.run(async () => {
                    await api.put('log-level', { body: { level: chosen } });
                    logLevel.refresh();
                  });
                }}
              >
                {levels.map((one) => (
                  <option key={one} value={one}>
                    {one}
                  </option>
                ))}
              </select>
            )}
          </Field>
        )}
      </Loaded>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
    </Panel>
  );
}

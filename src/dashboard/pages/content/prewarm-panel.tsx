import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Run } from '../../../api/runs.ts';
import { Field } from '../../parts/field.tsx';
import { ErrorNotice } from '../../parts/notices.tsx';
import { Panel } from '../../parts/panel.tsx';
import { RunProgress, RunState } from '../../parts/run.tsx';
import { useAction } from '../../session/action.ts';
import { useSession, useText } from '../../session/context.tsx';
import { linkTo } from '../../session/route.ts';
import { isOver, useRun } from '../../session/run.ts';

/** Fetches images now, and shows how that goes. */
export function PrewarmPanel({ done }: { readonly done: () => void }) {
  const { api } = useSession();
  const text = useText().content;
  const action = useAction();
  const started = useSignal<string | undefined>(undefined);
  const start = (form: FormData): void =>
    action.run(async () => {
      const images = wordsOf(form, 'images');
      const platforms = wordsOf(form, 'platforms');
      const { id } = await api.post<Run>('prewarm', { body: { images, platforms } });
      started.value = id;
    });
  return (
    <Panel title={text.prewarm}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          start(new FormData(event.currentTarget));
        }}
      >
        <Field label={text.prewarmImages} hint={text.prewarmHint}>
          {(hintId) => (
            <textarea
              name="images"
              rows={3}
              required
              spellcheck={false}
              aria-describedby={hintId}
            />
          )}
        </Field>
        <Field label={text.prewarmPlatforms} hint={text.prewarmPlatformsHint}>
          {(hintId) => (
            <input
              name="platforms"
              spellcheck={false}
              placeholder="linux/amd64"
              aria-describedby={hintId}
            />
          )}
        </Field>
        <div>
          <button type="submit" class="primary" disabled={action.isBusy}>
            {text.prewarmStart}
          </button>
        </div>
      </form>
      {action.error !== undefined && <ErrorNotice error={action.error} />}
      {started.value !== undefined && (
        <Started key={started.value} id={started.value} done={done} />
      )}
    </Panel>
  );
}

function Started({ id, done }: { readonly id: string; readonly done: () => void }) {
  const text = useText().content;
  const { run, error } = useRun(id);
  const hasEnded = run !== undefined && isOver(run);
  useEffect(() => {
    if (hasEnded) done();
  }, [hasEnded]);
  return (
    <div class="notice good">
      <p role="status">
        {run === undefined ? text.prewarmStarted : <RunState run={run} />}{' '}
        <a href={linkTo('jobs', id)}>{text.prewarmFollow}</a>
      </p>
      {run !== undefined && <RunProgress run={run} />}
      {error !== undefined && <ErrorNotice error={error} />}
    </div>
  );
}

/** What a field holds, by lines, blanks and commas. */
function wordsOf(form: FormData, name: string): string[] {
  const value = form.get(name);
  return typeof value === 'string' ? value.split(/[\s,]+/).filter((word) => word !== '') : [];
}

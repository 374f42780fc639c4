import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Purged } from '../../../api/care.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { DoneNotice, ErrorNotice, Loading } from '../../parts/notices.tsx';
import { useAction } from '../../session/action.ts';
import { useFormat, useSession, useText } from '../../session/context.tsx';

/** Shows what a purge would remove, asks, then removes it and says what went. */
export function PurgeDialog(props: {
  /** An image, by tag or digest. */
  readonly reference: string;
  readonly closed: () => void;
}) {
  const { reference, closed } = props;
  const { api } = useSession();
  const { content: text, common } = useText();
  const format = useFormat();
  const action = useAction();
  const would = useSignal<Purged | undefined>(undefined);
  const done = useSignal<Purged | undefined>(undefined);
  const purge = (dryRun: boolean): Promise<Purged> =>
    api.delete<Purged>('cache', { query: { ref: reference, dryRun } });
  useEffect(() => {
    action.run(async () => {
      would.value = await purge(true);
    });
  }, []);
  const say = ({ tags, blobs, bytes }: Purged, sentence: typeof text.purgeWould) =>
    sentence(format.count(tags.length), format.count(blobs), format.bytes(bytes));
  const isNothing =
    would.value !== undefined &&
    would.value.tags.length + would.value.manifests.length + would.value.blobs === 0;
  return (
    <Dialog title={text.purgeTitle(reference)} closed={closed}>
      {(close) => (
        <>
          {would.value === undefined && action.isBusy && (
            <>
              <p>{text.purgeAsking}</p>
              <Loading />
            </>
          )}
          {would.value !== undefined && done.value === undefined && (
            <div aria-live="polite">
              <p>{isNothing ? text.purgeNothing : say(would.value, text.purgeWould)}</p>
              <p class="detail">{text.purgeExplain}</p>
              <PurgeLog of={would.value} />
            </div>
          )}
          {done.value !== undefined && (
            <>
              <DoneNotice>{say(done.value, text.purgeDone)}</DoneNotice>
              <PurgeLog of={done.value} />
            </>
          )}
          {action.error !== undefined && <ErrorNotice error={action.error} />}
          <div class="row end">
            <button type="button" onClick={close}>
              {done.value === undefined ? common.cancel : common.close}
            </button>
            {done.value === undefined && (
              <button
                type="button"
                class="danger"
                disabled={action.isBusy || would.value === undefined || isNothing}
                onClick={() =>
                  action.run(async () => {
                    done.value = await purge(false);
                  })
                }
              >
                {text.purgeConfirm}
              </button>
            )}
          </div>
        </>
      )}
    </Dialog>
  );
}

function PurgeLog({ of }: { readonly of: Purged }) {
  const text = useText().content;
  const lines = [...of.log, ...of.errors.map(({ object, message }) => `${object}: ${message}`)];
  return (
    lines.length > 0 && (
      <details>
        <summary>{text.purgeLog}</summary>
        <pre class="log">{lines.join('\n')}</pre>
      </details>
    )
  );
}

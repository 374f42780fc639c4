import type { Run } from '../../api/runs.ts';
import { useFormat, useText } from '../session/context.tsx';
import { Badge } from './badge.tsx';
import { ProgressBar } from './meter.tsx';

const tones = {
  queued: 'calm',
  running: 'good',
  waiting: 'warn',
  succeeded: 'good',
  partial: 'warn',
  failed: 'bad',
  cancelled: 'calm',
} as const;

export function RunState({ run }: { readonly run: Run }) {
  const text = useText().jobs;
  return (
    <>
      <Badge tone={tones[run.state]}>{text.states[run.state]}</Badge>
      {run.isDryRun && <small> {text.dryRun}</small>}
      {run.reason !== null && <small> {run.reason}</small>}
    </>
  );
}

/** How far a run is; by bytes, or by what it counts when it moves none. */
export function RunProgress({ run }: { readonly run: Run }) {
  const text = useText().jobs;
  const format = useFormat();
  const { progress } = run;
  const [done, total, said] =
    progress.bytesTotal > 0
      ? [
          progress.bytesDone,
          progress.bytesTotal,
          text.of(format.bytes(progress.bytesDone), format.bytes(progress.bytesTotal)),
        ]
      : progress.blobsTotal > 0
        ? [
            progress.blobsDone,
            progress.blobsTotal,
            text.of(format.count(progress.blobsDone), format.count(progress.blobsTotal)),
          ]
        : [
            progress.imagesDone,
            progress.imagesTotal,
            text.of(format.count(progress.imagesDone), format.count(progress.imagesTotal)),
          ];
  if (total === 0 && run.endedAt !== null) return <span class="faint">–</span>;
  return (
    <>
      <ProgressBar label={run.job} done={done} total={total} /> <small>{said}</small>
    </>
  );
}

import type { Run, RunWithLog } from '../api/runs.ts';
import type { AdminClient } from './admin-client.ts';
import { CliFailure, exitCodes, widthOf, type CliIo } from './io.ts';
import { duration, painter, percent, progressBar, size } from './text.ts';

/** Lines for a pipe come this often at most. */
const linesEveryMs = 2_000;

/**
 * Follows a run to its end: a progress bar on a terminal, lines when piped, the run as JSON at the end
 * with `json`. Ctrl-C stops following and not the run.
 * @returns the exit code: 0 when all was done
 */
export async function followRun(
  client: AdminClient,
  io: CliIo,
  id: string,
  json: boolean,
): Promise<number> {
  if (json) {
    const run = await followToEnd(client, id);
    io.stdout.write(`${JSON.stringify(run, undefined, 2)}\n`);
    return exitCodeOf(run);
  }
  const isTerminal = io.stdout.isTTY === true;
  let toldMs = -Infinity;
  let toldLines = 0;
  const last = await followToEnd(client, id, (run) => {
    if (isTerminal) {
      io.stdout.write(`\r${barOf(run, widthOf(io.stdout))}\u001B[K`);
      return;
    }
    for (const { text } of run.log.slice(toldLines)) io.stdout.write(`${text}\n`);
    toldLines = run.log.length;
    if (performance.now() - toldMs < linesEveryMs) return;
    toldMs = performance.now();
    io.stdout.write(`${lineOf(run)}\n`);
  });
  if (isTerminal) io.stdout.write('\r\u001B[K');
  io.stdout.write(`${endOf(last, io, toldLines)}\n`);
  return exitCodeOf(last);
}

/**
 * A run at its end, or as it was at Ctrl-C.
 * @param tell told of each state that it is in
 */
export async function followToEnd(
  client: AdminClient,
  id: string,
  tell: (run: RunWithLog) => void = () => {},
): Promise<RunWithLog> {
  let last: RunWithLog | undefined;
  for await (const run of client.events<RunWithLog>(`/api/v1/runs/${id}/events`)) {
    last = run;
    tell(run);
  }
  if (last === undefined) throw new CliFailure('the server ended the stream before the run began');
  return last;
}

/** 0 when all was done. */
export function exitCodeOf({ state }: Run): number {
  return state === 'succeeded' ? exitCodes.done : exitCodes.failed;
}

function barOf(run: Run, width: number): string {
  const { bytesDone, bytesTotal, imagesDone, imagesTotal } = run.progress;
  // How many bytes the images have that the run has not come to yet, nobody knows.
  const seenShare = imagesTotal === 0 ? 1 : Math.min(1, (imagesDone + 1) / imagesTotal);
  const share = bytesTotal === 0 ? 0 : (bytesDone / bytesTotal) * seenShare;
  const left = run.secondsLeft === null ? '' : `, ${duration(Math.ceil(run.secondsLeft))} left`;
  const text =
    run.state === 'waiting'
      ? ` waits: ${run.reason ?? ''}`
      : ` ${percent(share)}  ${size(bytesDone)}, ${size(run.bytesPerSecond)}/s${left}  ${imagesDone}/${imagesTotal} images`;
  const barWidth = Math.max(8, Math.min(30, width - text.length - 3));
  return `${progressBar(share, barWidth)}${text}`.slice(0, width - 1);
}

export function lineOf(run: Run): string {
  const { bytesDone, bytesTotal, bytesFetched } = run.progress;
  const { imagesDone, imagesTotal, blobsDone, blobsTotal } = run.progress;
  const state = run.reason === null ? run.state : `${run.state}: ${run.reason}`;
  const fetched = /^(prewarm|sync)\b/.test(run.job) ? `, ${size(bytesFetched)} fetched` : '';
  return `${state}; ${imagesDone} of ${imagesTotal} images, ${blobsDone} of ${blobsTotal} blobs, ${size(bytesDone)} of ${size(bytesTotal)}${fetched}`;
}

/** A dry run has done nothing, whatever its counters say of what it looked at. */
function outcomeOf(run: Run): string {
  if (!run.isDryRun || run.state !== 'succeeded') return lineOf(run);
  const { blobsDone, bytesDone } = run.progress;
  if (run.job === 'gc') {
    return `dry run succeeded; ${blobsDone} blobs would go: ${size(bytesDone)}; nothing was done,`;
  }
  return 'dry run succeeded; nothing was done,';
}

/** @param toldLines of its log, which are not said again */
function endOf(run: RunWithLog, io: CliIo, toldLines: number): string {
  const paint = painter(io.stdout, io.env);
  const lines = run.errors.map(
    ({ object, message }) => `${paint('red', '✗')} ${object}: ${message}`,
  );
  const seconds =
    run.startedAt === null || run.endedAt === null
      ? 0
      : (Date.parse(run.endedAt) - Date.parse(run.startedAt)) / 1000;
  const mark = run.state === 'succeeded' ? paint('green', '✓') : paint('yellow', '!');
  if (run.isDryRun) lines.push(...run.log.slice(toldLines).map(({ text }) => `  ${text}`));
  lines.push(`${mark} ${outcomeOf(run)} in ${duration(seconds)}`);
  if (run.endedAt === null) lines.push(`The run goes on: entrepot jobs log ${run.id}`);
  return lines.join('\n');
}

import type { Work } from '../../base/work.ts';
import type { Job } from '../../schedule/scheduler.ts';

/**
 * Jobs that begin their work when the disk has been counted: what an earlier process left half done is
 * found by then, so that a run that goes on fetches it no second time.
 */
export function afterCounting(jobs: readonly Job[], counted: Promise<void>): Job[] {
  let isCounted = false;
  void counted.then(() => {
    isCounted = true;
  });
  return jobs.map((job) => ({
    ...job,
    run: async (work, parameters) => {
      if (!isCounted) await work.wait('the disk is being counted', unlessAborted(counted, work));
      await job.run(work, parameters);
    },
  }));
}

async function unlessAborted(awaited: Promise<void>, { signal }: Work): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', leave, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([awaited, promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

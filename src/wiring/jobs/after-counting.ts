import { untilAborted } from '../../base/until-aborted.ts';
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
      if (!isCounted)
        await work.wait('the disk is being counted', untilAborted(counted, work.signal));
      await job.run(work, parameters);
    },
  }));
}

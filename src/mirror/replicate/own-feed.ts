import type { ChangeLog } from '../../store/changes.ts';
import { LogTooShort } from '../../upstream/primary/admin.ts';
import type { Feed } from './follow.ts';

/** Changes that are taken up at a time. */
const changesAtOnce = 1_000;

/** This site's own log, for rules that send to others what has arrived here. */
export function ownFeed(log: ChangeLog): Feed {
  return {
    latest: () => Promise.resolve({ log: log.id, seq: log.latest }),
    changes: async (cursor, waitSeconds, signal) => {
      const refuseGap = (): void => {
        if (cursor.log !== log.id || !log.reaches(cursor.seq)) throw new LogTooShort();
      };
      refuseGap();
      await log.after(cursor.seq, waitSeconds * 1000, signal);
      signal.throwIfAborted();
      const changes = log.since(cursor.seq, changesAtOnce);
      // It may have begun anew meanwhile.
      refuseGap();
      return { changes, latest: log.latest };
    },
  };
}

import type { Change as ChangeShape } from '../../api/sync.ts';
import type { ChangeFeed } from '../../http/admin/sync-routes.ts';
import { repositoryKey } from '../../oci/reference.ts';
import type { ChangeLog } from '../../store/changes.ts';

/** The log of changes, in the words of the admin API. */
export function feedOf(log: ChangeLog): ChangeFeed {
  return {
    get id() {
      return log.id;
    },
    get latest() {
      return log.latest;
    },
    reaches: (seq) => log.reaches(seq),
    after: (seq, waitMs, signal) => log.after(seq, waitMs, signal),
    since: (seq, limit) =>
      log.since(seq, limit).map((change): ChangeShape => ({
        seq: change.seq,
        at: new Date(change.atMs).toISOString(),
        repository: repositoryKey(change.repository),
        tag: change.tag,
        digest: change.digest ?? null,
        mediaType: change.mediaType ?? null,
        kind: change.kind,
      })),
  };
}

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Event } from '../../src/base/events.ts';
import { ChangeLog, type Change } from '../../src/store/changes.ts';
import { makeBlob } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { ManualClock } from '../unit/manual-clock.ts';

const change: Change = {
  kind: 'set',
  repository: { registry: 'docker.io', name: 'library/app' },
  tag: '1',
  digest: makeBlob(1, 1).digest,
  mediaType: undefined,
};

test('a change that comes when the log is closed leaves it as it is for the next start', async () => {
  await using folder = await temporaryFolder();
  const events: Event[] = [];
  const open = (): ChangeLog =>
    new ChangeLog(join(folder.path, 'changes.db'), new ManualClock(), (event) =>
      events.push(event),
    );
  const log = open();
  log.append(change);
  log.close();

  log.append({ ...change, tag: '2' });
  log.close();

  const again = open();
  assert.deepEqual([again.id, again.latest], [log.id, 1]);
  assert.deepEqual(
    again.since(0, 10).map(({ tag }) => tag),
    ['1'],
  );
  assert.deepEqual(events, []);
  again.close();
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Readiness } from '../../src/mirror/readiness.ts';
import { systemDisk } from '../../src/store/disk.ts';
import { ManualClock } from './manual-clock.ts';

test('a disk that hangs is said to, and is not asked again until it answers', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const clock = new ManualClock();
  const opening = Promise.withResolvers<never>();
  let opened = 0;
  const readiness = new Readiness({
    disk: {
      ...systemDisk,
      open: () => {
        opened += 1;
        return opening.promise;
      },
    },
    folder: '/cache/v1',
    clock,
    counted: Promise.resolve(),
    upstreams: () => [],
  });

  const first = readiness.look();
  t.mock.timers.tick(2_000);
  const { isReady, reasons } = await first;
  clock.advance(60_000);
  const second = readiness.look();
  t.mock.timers.tick(0);
  await second;

  assert.equal(isReady, false);
  assert.match(reasons.join(), /\/cache\/v1.* has not taken a file within 2 s/);
  assert.equal(opened, 1);

  opening.reject(new Error('EIO'));
  clock.advance(60_000);
  assert.match((await readiness.look()).reasons.join(), /refuses to be written: EIO/);
});

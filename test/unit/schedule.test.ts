import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Work } from '../../src/base/work.ts';
import { isOpen } from '../../src/mirror/prewarm/window.ts';
import { nextTime, timetableText } from '../../src/schedule/cron.ts';
import type { Documents } from '../../src/schedule/run-shelf.ts';
import { Scheduler, type Job } from '../../src/schedule/scheduler.ts';
import { ManualClock } from './manual-clock.ts';

function documents(): Documents {
  const kept = new Map<string, unknown>();
  return {
    find: (kind, key) => Promise.resolve(structuredClone(kept.get(`${kind} ${key}`))),
    put: (kind, key, document) => {
      kept.set(`${kind} ${key}`, structuredClone(document));
      return Promise.resolve();
    },
    remove: (kind, key) => {
      kept.delete(`${kind} ${key}`);
      return Promise.resolve();
    },
  };
}

interface Bench {
  readonly scheduler: Scheduler;
  readonly clock: ManualClock;
  readonly works: Work[];
  /** Lets the run under way end. */
  endRun(): Promise<void>;
}

async function open(
  job: Partial<Job>,
  kept = documents(),
  clock = new ManualClock(),
): Promise<Bench> {
  const works: Work[] = [];
  const ends: (() => void)[] = [];
  const scheduler = new Scheduler({ clock, observe: () => {}, documents: kept, random: () => 0.5 });
  await scheduler.open([
    {
      name: 'job',
      summary: 'A job',
      run: (work) => {
        works.push(work);
        return new Promise((resolve, reject) => {
          ends.push(resolve);
          work.signal.addEventListener('abort', () => reject(work.signal.reason as Error));
        });
      },
      ...job,
    },
  ]);
  return {
    scheduler,
    clock,
    works,
    endRun: async () => {
      ends.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const hourly = { cron: '0 * * * *', timeZone: 'UTC' };
const hourMs = 3_600_000;

describe('a timetable', () => {
  const at = (text: string): number => Date.parse(text);
  const next = (cron: string, timeZone: string, after: string): string =>
    new Date(nextTime({ cron, timeZone }, at(after)) ?? NaN).toISOString();

  test('is that of its time zone', () => {
    assert.equal(next('0 3 * * *', 'UTC', '2026-01-01T00:00:00Z'), '2026-01-01T03:00:00.000Z');
    assert.equal(
      next('0 3 * * *', 'Asia/Shanghai', '2026-01-01T00:00:00Z'),
      '2026-01-01T19:00:00.000Z',
    );
    assert.equal(next('*/5 * * * * *', 'UTC', '2026-01-01T00:00:01Z'), '2026-01-01T00:00:05.000Z');
  });

  test('runs once in the hour that daylight saving repeats, and not never in the one it skips', () => {
    // Berlin, 25 October 2026: 02:30 happens at 00:30 and at 01:30 UTC.
    const first = next('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z');
    assert.equal(first, '2026-10-25T00:30:00.000Z');
    assert.equal(next('30 2 * * *', 'Europe/Berlin', first), '2026-10-26T01:30:00.000Z');
    // 29 March 2026: 02:30 does not exist; clocks go from 02:00 to 03:00 at 01:00 UTC.
    const skipped = next('30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z');
    assert.equal(skipped, '2026-03-29T01:00:00.000Z', 'when the clocks have gone on');
    assert.equal(next('30 2 * * *', 'Europe/Berlin', skipped), '2026-03-30T00:30:00.000Z');
  });

  test('may be an interval, counted from the last start', () => {
    assert.equal(nextTime({ everyMs: 90_000 }, 1_000), 91_000);
    assert.equal(timetableText({ everyMs: 90_000 }), 'every 90s');
    assert.equal(timetableText({ everyMs: 900_000 }), 'every 15m');
    assert.equal(timetableText({ cron: '0 3 * * *' }), '0 3 * * *');
  });
});

describe('the scheduler', () => {
  test('starts what is due, and not twice at a time', async () => {
    const bench = await open({ timetable: hourly });
    bench.scheduler.tick();
    assert.equal(bench.works.length, 0);

    bench.clock.advance(hourMs);
    bench.scheduler.tick();
    bench.clock.advance(hourMs);
    bench.scheduler.tick();
    assert.equal(bench.works.length, 1, 'the first still runs');

    await bench.endRun();
    bench.clock.advance(hourMs);
    bench.scheduler.tick();
    assert.equal(bench.works.length, 2);
    await bench.endRun();
    assert.deepEqual(
      bench.scheduler.runs().map(({ state, trigger }) => [state, trigger]),
      [
        ['succeeded', 'schedule'],
        ['succeeded', 'schedule'],
      ],
    );
    await bench.scheduler.close();
  });

  test('puts a start off by its jitter', async () => {
    const bench = await open({ timetable: { ...hourly, jitterMs: 60_000 } });
    const [job] = bench.scheduler.jobs();
    assert.equal((job!.nextMs! - 30_000) % hourMs, 0);
    await bench.scheduler.close();
  });

  test('makes up for what was missed of a job that came while it ran', async () => {
    const [kept, clock] = [documents(), new ManualClock()];
    const first = await open({}, kept, clock);
    const late = { name: 'late', summary: 'Late', timetable: hourly, run: () => Promise.resolve() };
    first.scheduler.prepareJobs([late])();
    await first.scheduler.close();
    clock.advance(2 * hourMs);

    const { scheduler } = await open(late, kept, clock);

    assert.deepEqual(
      scheduler.runs().map(({ job, trigger }) => [job, trigger]),
      [['late', 'schedule']],
    );
    await scheduler.close();
  });

  test('makes up for what was missed while it was away, once', async () => {
    const kept = documents();
    const before = await open({ timetable: hourly }, kept);
    await before.scheduler.close();

    before.clock.advance(5 * hourMs);
    const after = await open({ timetable: hourly }, kept, before.clock);

    assert.equal(after.works.length, 1);
    await after.endRun();
    after.scheduler.tick();
    assert.equal(after.works.length, 1);
    await after.scheduler.close();
  });

  test('goes on at the next start with what it was in the middle of, with the same parameters', async () => {
    const kept = documents();
    const seen: unknown[] = [];
    const run = (work: Work, parameters: unknown): Promise<void> => {
      seen.push(parameters);
      return new Promise((_, reject) => {
        work.signal.addEventListener('abort', () => reject(work.signal.reason as Error));
      });
    };
    const before = await open({ run }, kept);
    before.scheduler.start('job', { trigger: 'manual', parameters: { images: ['a'] } });
    await before.scheduler.close();

    const after = await open({ run }, kept, before.clock);

    assert.deepEqual(seen, [{ images: ['a'] }, { images: ['a'] }]);
    assert.equal(after.scheduler.runs()[0]?.trigger, 'start');
    await after.scheduler.close();
  });

  test('ends a run that is cancelled, in line or under way', async () => {
    const bench = await open({});
    const first = bench.scheduler.start('job', { trigger: 'manual' })!;
    const second = bench.scheduler.start('job', { trigger: 'manual' })!;
    assert.equal(bench.scheduler.run(second.id)?.state, 'queued');

    assert.equal(bench.scheduler.cancel(second.id), true);
    assert.equal(bench.scheduler.cancel(first.id), true);
    await new Promise((resolve) => setImmediate(resolve));

    assert.deepEqual(
      [first, second].map(({ id }) => bench.scheduler.run(id)?.state),
      ['cancelled', 'cancelled'],
    );
    assert.equal(bench.scheduler.cancel(first.id), false, 'it has ended');
    await bench.scheduler.close();
  });

  test('tells a failure from a part that failed', async () => {
    const outcomes: [task: (work: Work) => void, state: string][] = [
      [() => {}, 'succeeded'],
      [(work) => work.fail('a', new Error('no')), 'failed'],
      [
        (work) => {
          work.advance({ imagesDone: 1 });
          work.fail('b', new Error('no'));
        },
        'partial',
      ],
      [
        () => {
          throw new Error('all of it');
        },
        'failed',
      ],
    ];
    for (const [task, state] of outcomes) {
      const bench = await open({ run: async (work) => task(work) });
      const { id } = bench.scheduler.start('job', { trigger: 'manual' })!;
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(bench.scheduler.run(id)?.state, state);
      await bench.scheduler.close();
    }
  });

  test('lets runs that wait hold up no other', async () => {
    const gate = Promise.withResolvers<void>();
    const names = ['a', 'b', 'c', 'd'];
    const scheduler = new Scheduler({
      clock: new ManualClock(),
      observe: () => {},
      documents: documents(),
    });
    const job = (name: string): Job => ({
      name,
      summary: name,
      run: (work) => work.wait('its window', gate.promise),
    });
    await scheduler.open([
      ...names.map(job),
      { name: 'last', summary: 'It waits for nothing', run: async () => {} },
    ]);

    for (const name of names) scheduler.start(name, { trigger: 'manual' });
    const { id } = scheduler.start('last', { trigger: 'manual' })!;
    await new Promise((resolve) => setImmediate(resolve));

    assert.equal(scheduler.run(id)?.state, 'succeeded');
    assert.equal(scheduler.runs().filter(({ state }) => state === 'waiting').length, 4);
    gate.resolve();
    await scheduler.close();
  });

  test('keeps so many runs of each job, in memory and on disk', async () => {
    const kept = documents();
    const clock = new ManualClock();
    const task: Pick<Job, 'summary' | 'run'> = { summary: 'A job', run: async () => {} };
    const jobs = [
      { name: 'rare', ...task },
      { name: 'busy', ...task },
    ];
    const scheduler = new Scheduler({ clock, observe: () => {}, documents: kept });
    await scheduler.open(jobs);
    const runOnce = async (name: string): Promise<void> => {
      scheduler.start(name, { trigger: 'manual' });
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(1_000);
    };
    await runOnce('rare');
    for (let count = 0; count < 500; count += 1) await runOnce('busy');
    await scheduler.close();

    const countOf = ({ runs }: { runs: () => { job: string }[] }, name: string): number =>
      runs().filter(({ job }) => job === name).length;
    const held = { runs: () => scheduler.runs() };
    assert.equal(countOf(held, 'rare'), 1);
    assert.ok(countOf(held, 'busy') <= 40, `${countOf(held, 'busy')} are in memory`);
    const again = new Scheduler({ clock, observe: () => {}, documents: kept });
    await again.open(jobs);
    assert.deepEqual(
      again.runs().map(({ id }) => id),
      scheduler.runs().map(({ id }) => id),
    );
    await again.close();
  });

  test('begins nothing with a timetable that cannot be, and says whose it is', async () => {
    const said = /^the job job cannot be scheduled: «61 3 \* \* \*» is no schedule/;
    const opening = open({ timetable: { cron: '61 3 * * *' } });

    await assert.rejects(opening, { name: 'RangeError', message: said });

    const bench = await open({ timetable: hourly });
    const before = bench.scheduler.jobs();
    const other = { name: 'other', summary: 'Another', run: async () => {} };
    const job = { ...other, name: 'job', timetable: { cron: '61 3 * * *' } };
    assert.throws(() => bench.scheduler.prepareJobs([other, job]), { message: said });
    assert.deepEqual(bench.scheduler.jobs(), before);
    await bench.scheduler.close();
  });

  test('says why a run waits', async () => {
    const gate = Promise.withResolvers<void>();
    const bench = await open({ run: (work) => work.wait('the quota', gate.promise) });
    const { id } = bench.scheduler.start('job', { trigger: 'manual' })!;

    const waiting = bench.scheduler.run(id);
    gate.resolve();
    await new Promise((resolve) => setImmediate(resolve));

    assert.deepEqual([waiting?.state, waiting?.reason], ['waiting', 'the quota']);
    assert.deepEqual(
      [bench.scheduler.run(id)?.state, bench.scheduler.run(id)?.reason],
      ['succeeded', undefined],
    );
    await bench.scheduler.close();
  });
});

test('a window may go over midnight', () => {
  const clock = { monotonicMs: () => 0, wallMs: () => new Date(2026, 0, 1, 23, 30).getTime() };
  assert.equal(isOpen({ fromMinute: 22 * 60, toMinute: 6 * 60, clock }), true);
  assert.equal(isOpen({ fromMinute: 60, toMinute: 6 * 60, clock }), false);
  assert.equal(isOpen({ fromMinute: 23 * 60, toMinute: 24 * 60, clock }), true);
});

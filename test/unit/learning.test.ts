import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Event, RequestEvent } from '../../src/base/events.ts';
import { Popularity } from '../../src/mirror/prewarm/popularity.ts';
import { Usefulness } from '../../src/mirror/prewarm/usefulness.ts';
import { ManualClock } from './manual-clock.ts';

const dayMs = 86_400_000;
const any = (): boolean => true;

function request(changes: Partial<RequestEvent>): RequestEvent {
  return {
    kind: 'request',
    method: 'HEAD',
    what: 'manifest',
    repository: 'docker.io/library/app',
    reference: '1',
    status: 200,
    outcome: 'HIT',
    sentBytes: 0,
    durationMs: 1,
    client: '127.0.0.1',
    aborted: false,
    errorCode: undefined,
    errorMessage: undefined,
    ...changes,
  };
}

describe('popularity', () => {
  const pull = (popularity: Popularity, reference: string, times = 1): void => {
    for (let count = 0; count < times; count += 1) popularity.note(request({ reference }));
  };
  const tags = (popularity: Popularity, count = 10): string[] =>
    popularity.top(count, any).map(({ tag }) => tag);

  test('decays: what was pulled much long ago is behind what is pulled now', () => {
    const clock = new ManualClock();
    const popularity = new Popularity(clock);
    pull(popularity, 'old', 10);
    clock.advance(dayMs);
    pull(popularity, 'new', 3);
    assert.deepEqual(tags(popularity), ['old', 'new']);

    clock.advance(13 * dayMs);
    pull(popularity, 'new', 1);

    assert.deepEqual(tags(popularity), ['new', 'old']);
    assert.deepEqual(tags(popularity, 1), ['new']);
  });

  test('counts tags that were answered, and nothing else', () => {
    const popularity = new Popularity(new ManualClock());
    const notPulls: Partial<RequestEvent>[] = [
      { reference: `sha256:${'a'.repeat(64)}` },
      { status: 404 },
      { what: 'tags', reference: undefined },
      { what: 'blob' },
    ];

    for (const changes of notPulls) assert.equal(popularity.note(request(changes)), false);
    assert.equal(popularity.note(request({ method: 'GET' })), true);

    assert.deepEqual(popularity.top(10, any), [
      { repository: { registry: 'docker.io', name: 'library/app' }, tag: '1' },
    ]);
    assert.deepEqual(
      popularity.top(10, () => false),
      [],
    );
  });

  test('forgets the least popular beyond its bound, and comes back from what it dumped', () => {
    const popularity = new Popularity(new ManualClock());
    pull(popularity, 'loved', 3);
    for (let count = 0; count < 20_000; count += 1) pull(popularity, `t${count}`);

    const kept = new Popularity(new ManualClock());
    kept.load(JSON.parse(JSON.stringify(popularity.dump())));

    const found = tags(kept, 100_000);
    assert.equal(found[0], 'loved');
    assert.ok(found.length <= 5_000, `${found.length} are kept`);
    kept.load('what is this?');
    kept.load([['half'], 7]);
  });
});

describe('what prewarming was worth', () => {
  const blob = (digest: string): Event[] => [
    { kind: 'fill-started', digest, repository: 'r', reason: 'prewarm' },
    {
      kind: 'fill-committed',
      digest,
      repository: 'r',
      sizeBytes: 100,
      fetchedBytes: 100,
      connections: 1,
      durationMs: 1,
    },
  ];
  const asked = (digest: string): Event =>
    request({ what: 'blob', method: 'GET', reference: digest });

  test('each blob counts once, when a client has asked for it or it has gone', () => {
    const usefulness = new Usefulness();
    const events: Event[] = [
      ...blob('a'),
      ...blob('b'),
      ...blob('c'),
      asked('a'),
      asked('a'),
      { kind: 'evicted', digest: 'b', sizeBytes: 100 },
      asked('unknown'),
      request({ what: 'blob', method: 'HEAD', reference: 'c' }),
    ];
    for (const event of events) usefulness.note(event);

    const expected = { prewarmedBytes: 300, servedBytes: 100, evictedBytes: 100 };
    assert.deepEqual(usefulness.totals, expected);
    const kept = new Usefulness();
    kept.load(JSON.parse(JSON.stringify(usefulness.dump())));
    kept.note(asked('c'));
    assert.deepEqual(kept.totals, { ...expected, servedBytes: 200 });
  });

  test('one that a client reads as it arrives was not in vain; what clients began is not counted', () => {
    const usefulness = new Usefulness();
    const [started, committed] = blob('a') as [Event, Event];
    usefulness.note(started);
    usefulness.note(asked('a'));
    usefulness.note(committed);
    usefulness.note({ ...started, digest: 'b', reason: 'client' } as Event);
    usefulness.note({ ...committed, digest: 'b' } as Event);

    assert.deepEqual(usefulness.totals, {
      prewarmedBytes: 100,
      servedBytes: 100,
      evictedBytes: 0,
    });
  });
});

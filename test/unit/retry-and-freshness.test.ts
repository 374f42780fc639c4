import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  afterAskFailed,
  freshnessOf,
  type AskFailure,
  type TagPolicy,
} from '../../src/mirror/freshness.ts';
import { afterFailure, asUpstreamError, pause } from '../../src/mirror/retry.ts';
import { errorTable, MirrorError, type ErrorCode } from '../../src/oci/errors.ts';

const down = new MirrorError('UPSTREAM_UNAVAILABLE', 'down');

function limited(retryAfterSeconds?: number): MirrorError {
  return new MirrorError(
    'UPSTREAM_LIMITED',
    'limited',
    retryAfterSeconds === undefined ? {} : { retryAfterSeconds },
  );
}

describe('after a transfer broke', () => {
  test('the waits triple, and the fourth attempt in vain is the last', () => {
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((attempts) => afterFailure(down, attempts)),
      [
        { do: 'again', afterMs: 100 },
        { do: 'again', afterMs: 100 },
        { do: 'again', afterMs: 300 },
        { do: 'again', afterMs: 900 },
        { do: 'give up' },
        { do: 'give up' },
      ],
    );
  });

  test('a transfer that has begun is tried once more, after 2.7 seconds', () => {
    assert.deepEqual(
      [4, 5].map((attempts) => afterFailure(down, attempts, true)),
      [{ do: 'again', afterMs: 2_700 }, { do: 'give up' }],
    );
  });

  const retryable = new Set<ErrorCode>(['UPSTREAM_UNAVAILABLE', 'UPSTREAM_LIMITED']);
  for (const code of (Object.keys(errorTable) as ErrorCode[]).filter(
    (code) => !retryable.has(code),
  )) {
    test(`${code} is no outage: nothing is gained by asking again`, () => {
      assert.deepEqual(afterFailure(new MirrorError(code, ''), 0), { do: 'give up' });
    });
  }

  test('a bug is not tried again', () => {
    assert.deepEqual(afterFailure(new TypeError('x is not a function'), 0), { do: 'give up' });
  });

  test('a limit that ends in five seconds is waited for; a longer one is the client’s to know', () => {
    assert.deepEqual(afterFailure(limited(5), 1), { do: 'again', afterMs: 5_000 });
    assert.deepEqual(afterFailure(limited(6), 1), { do: 'give up' });
    assert.deepEqual(afterFailure(limited(), 1), { do: 'again', afterMs: 100 });
  });

  test('an outage that asks for an hour gets five seconds: the next attempt decides', () => {
    const busy = new MirrorError('UPSTREAM_UNAVAILABLE', '503', { retryAfterSeconds: 3_600 });

    assert.deepEqual(afterFailure(busy, 1), { do: 'again', afterMs: 5_000 });
  });

  test('what the network library throws is upstream’s failure, and keeps its cause', () => {
    const cause = new Error('other side closed');
    const error = asUpstreamError(cause) as MirrorError;

    assert.equal(error.code, 'UPSTREAM_UNAVAILABLE');
    assert.match(error.message, /other side closed/);
    assert.equal(error.cause, cause);
    assert.equal(asUpstreamError(down), down);
  });

  test('a pause ends at once with the reason, before it began or within', async () => {
    const within = new AbortController();
    const waiting = pause(60_000, within.signal);

    within.abort(new Error('the mirror is shutting down'));

    await assert.rejects(waiting, /shutting down/);
    await assert.rejects(pause(60_000, AbortSignal.abort(new Error('too late'))), /too late/);
    await pause(0, new AbortController().signal);
  });
});

const policy: TagPolicy = {
  tagTtlMs: 60_000,
  maxStaleMs: 3_600_000,
  onGone: 'serve',
  onDenied: 'deny',
};

describe('a tag', () => {
  const ages: [sinceCheckMs: number | undefined, expected: 'serve' | 'revalidate'][] = [
    [0, 'serve'],
    [59_999, 'serve'],
    [60_000, 'revalidate'],
    [Infinity, 'revalidate'],
    [undefined, 'revalidate'],
  ];
  for (const [sinceCheckMs, expected] of ages) {
    test(`confirmed ${sinceCheckMs} ms ago, with a life of 60000 ms: ${expected}`, () => {
      assert.equal(freshnessOf({ sinceCheckMs, wallAgeMs: 0 }, policy), expected);
    });
  }

  test('with a life of 0 is asked for each time', () => {
    const age = { sinceCheckMs: 0, wallAgeMs: 0 };

    assert.equal(freshnessOf(age, { ...policy, tagTtlMs: 0 }), 'revalidate');
  });
});

describe('a tag that upstream did not confirm', () => {
  const young = 3_600_000;
  const old = 3_600_001;
  const cases: [AskFailure, wallAgeMs: number, Partial<TagPolicy>, 'serve' | 'warn' | 'refuse'][] =
    [
      ['gone', young, { onGone: 'serve' }, 'serve'],
      ['gone', young, { onGone: 'warn' }, 'warn'],
      ['gone', young, { onGone: 'deny' }, 'refuse'],
      ['denied', young, { onDenied: 'deny' }, 'refuse'],
      ['denied', young, { onDenied: 'serve' }, 'warn'],
      ['failed', young, {}, 'warn'],
      ['failed', old, {}, 'refuse'],
      ['failed', Number.MAX_SAFE_INTEGER, { maxStaleMs: Infinity }, 'warn'],
      ['failed', 1, { maxStaleMs: 0 }, 'refuse'],
    ];
  for (const [failure, wallAgeMs, settings, expected] of cases) {
    test(`${failure} after ${wallAgeMs} ms with ${JSON.stringify(settings)}: ${expected}`, () => {
      const age = { sinceCheckMs: undefined, wallAgeMs };

      assert.equal(afterAskFailed(failure, age, { ...policy, ...settings }), expected);
    });
  }

  test('a clock that is set anew makes what this process saw confirmed neither older nor younger', () => {
    const jumped = { sinceCheckMs: young, wallAgeMs: old };
    const back = { sinceCheckMs: old, wallAgeMs: -old };

    assert.equal(afterAskFailed('failed', jumped, policy), 'warn');
    assert.equal(afterAskFailed('failed', back, policy), 'refuse');
  });
});

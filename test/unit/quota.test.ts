import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Event } from '../../src/base/events.ts';
import { QuotaLedger, readQuota } from '../../src/upstream/quota.ts';
import { ManualClock } from './manual-clock.ts';

describe('the quota in the headers of an answer', () => {
  const cases: [limit: string | undefined, remaining: string | undefined, expected: unknown][] = [
    ['100;w=21600', '76;w=21600', { limit: 100, remaining: 76, windowSeconds: 21_600 }],
    ['200', '0', { limit: 200, remaining: 0, windowSeconds: undefined }],
    ['100, 100;w=60', undefined, { limit: 100, remaining: undefined, windowSeconds: 60 }],
    [undefined, ' 5 ; w=1', { limit: undefined, remaining: 5, windowSeconds: 1 }],
    ['many', '-1', undefined],
    ['99999999999', '1e3', undefined],
    [undefined, undefined, undefined],
  ];
  for (const [limit, remaining, expected] of cases) {
    test(`ratelimit-limit: ${limit}, ratelimit-remaining: ${remaining}`, () => {
      const headers = { 'ratelimit-limit': limit, 'ratelimit-remaining': remaining };

      const read = readQuota(headers);

      assert.deepEqual(
        read,
        expected === undefined ? undefined : { source: undefined, ...(expected as object) },
      );
    });
  }

  test('shows the source only when it is an address or an id', () => {
    const read = (source: string) =>
      readQuota({ 'ratelimit-limit': '1', 'docker-ratelimit-source': source })?.source;

    assert.equal(read('2001:db8::1'), '2001:db8::1');
    assert.equal(
      read('f7f1a2b3-0000-4000-8000-000000000000'),
      'f7f1a2b3-0000-4000-8000-000000000000',
    );
    assert.equal(read('<script>'), undefined);
  });
});

describe('the ledger', () => {
  test('keeps accounts apart, counts for each, and says only what changed', () => {
    const events: Event[] = [];
    const ledger = new QuotaLedger('docker.io', new ManualClock(), (event) => events.push(event));
    const left = (remaining: number) => ({
      'ratelimit-limit': '100;w=21600',
      'ratelimit-remaining': `${remaining};w=21600`,
    });

    ledger.note('anonymous', 'pull', left(9));
    ledger.note('me', 'check', left(180));
    ledger.note('anonymous', 'pull', left(8));
    ledger.note('anonymous', 'check', left(8));
    ledger.note('nobody', 'other', {});

    const shown = ledger.quotas.map(({ account, remaining, pulls, checks }) => ({
      account,
      remaining,
      pulls,
      checks,
    }));
    assert.deepEqual(shown, [
      { account: 'me', remaining: 180, pulls: 0, checks: 1 },
      { account: 'anonymous', remaining: 8, pulls: 2, checks: 1 },
    ]);
    assert.equal(events.length, 3);
  });

  test('keeps what it knew when an answer says nothing, and does not grow with rotated logins', () => {
    const ledger = new QuotaLedger('docker.io', new ManualClock(), () => {});

    ledger.note('me', 'pull', { 'ratelimit-remaining': '5' });
    ledger.note('me', 'pull', {});
    const [me] = ledger.quotas;
    for (let at = 0; at < 100; at += 1) ledger.note(`rotated-${at}`, 'pull', {});

    assert.equal(me?.remaining, 5);
    assert.equal(me?.pulls, 2);
    assert.ok(ledger.quotas.length <= 16);
  });
});

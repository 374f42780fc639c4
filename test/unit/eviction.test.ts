import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseDigest, type Digest } from '../../src/oci/digest.ts';
import type { Eviction, Resident } from '../../src/store/eviction/eviction.ts';
import { LruEviction } from '../../src/store/eviction/lru.ts';
import { S3FifoEviction } from '../../src/store/eviction/s3-fifo.ts';
import { evictionBy } from '../../src/store/eviction/tiered.ts';

function digest(number: number): Digest {
  return parseDigest(`sha256:${number.toString(16).padStart(64, '0')}`);
}

const nothingInUse = (): boolean => false;

function resident(number: number, bytes = 10): Resident {
  return { digest: digest(number), sizeBytes: bytes, occupiedBytes: bytes, usedMs: 0 };
}

/** The digests that would go, by number. */
function victims(
  eviction: Eviction,
  needBytes: number,
  mustStay: (digest: Digest) => boolean = nothingInUse,
): Digest[] {
  return eviction.victims(needBytes, mustStay).map((one) => one.digest);
}

/** Digests 0, 1, 2, … of 10 bytes each, admitted in this order. */
function filled(count: number): LruEviction {
  const eviction = new LruEviction();
  for (let at = 0; at < count; at += 1) eviction.admit(resident(at));
  return eviction;
}

describe('eviction', () => {
  test('takes the least recently used, as few as do', () => {
    const eviction = filled(5);
    eviction.touch(digest(0), 1);

    assert.deepEqual(victims(eviction, 15), [digest(1), digest(2)]);
    assert.deepEqual(victims(eviction, 0), []);
  });

  test('passes over what is in use, and takes the next', () => {
    const chosen = victims(filled(5), 20, (one) => one === digest(0) || one === digest(2));

    assert.deepEqual(chosen, [digest(1), digest(3)]);
  });

  test('offers what there is when that is not enough', () => {
    assert.deepEqual(victims(filled(2), 1_000), [digest(0), digest(1)]);
    assert.deepEqual(
      victims(filled(2), 1_000, () => true),
      [],
    );
  });

  test('decides only: what it named stays counted until it is forgotten', () => {
    const eviction = filled(3);
    victims(eviction, 20);
    assert.equal(eviction.usedBytes, 30);

    eviction.forget(digest(0));
    eviction.forget(digest(0));

    assert.equal(eviction.usedBytes, 20);
    assert.equal(eviction.count, 2);
  });

  test('counts content once, however often it is admitted', () => {
    const eviction = filled(1);

    eviction.admit(resident(0));

    assert.equal(eviction.usedBytes, 10);
  });

  test('touching what is not there admits nothing', () => {
    const eviction = new LruEviction();

    eviction.touch(digest(1), 1);
    eviction.forget(digest(1));

    assert.equal(eviction.count, 0);
  });

  test('counts empty blobs and more bytes than fit in 32 bits', () => {
    const eviction = new LruEviction();
    eviction.admit(resident(1, 0));
    eviction.admit(resident(2, 2 ** 45));

    assert.equal(eviction.count, 2);
    assert.ok(eviction.usedBytes >= 2 ** 45 && eviction.usedBytes <= 2 ** 45 + 1);
    assert.deepEqual(victims(eviction, 1), [digest(1), digest(2)]);
  });

  test('is the list that a naive one is', () => {
    const deed = fc.tuple(fc.constantFrom('admit', 'touch', 'forget'), fc.nat(6));
    fc.assert(
      fc.property(fc.array(deed), fc.nat(80), (deeds, need) => {
        const eviction = new LruEviction();
        let naive: number[] = [];
        for (const [what, number] of deeds) {
          const isThere = naive.includes(number);
          naive = naive.filter((one) => one !== number);
          if (what === 'admit' || (what === 'touch' && isThere)) naive.push(number);
          if (what === 'admit') eviction.admit(resident(number));
          else if (what === 'touch') eviction.touch(digest(number), 1);
          else eviction.forget(digest(number));
        }

        assert.equal(eviction.usedBytes, naive.length * 10);
        assert.deepEqual(
          victims(eviction, need),
          naive.slice(0, Math.ceil(need / 10)).map((number) => digest(number)),
        );
      }),
    );
  });
});

describe('the small tier', () => {
  const mib = 1024 * 1024;
  const tiered = (): Eviction => evictionBy('lru', () => 1_000 * mib);

  test('keeps small objects when large ones flow, up to 2 % of the budget', () => {
    const eviction = tiered();
    for (let at = 0; at < 20; at += 1) eviction.admit(resident(at, mib - 1));
    for (let at = 20; at < 30; at += 1) eviction.admit(resident(at, 90 * mib));

    const chosen = victims(eviction, 500 * mib);

    assert.deepEqual(
      chosen,
      [20, 21, 22, 23, 24, 25].map((at) => digest(at)),
    );
  });

  test('gives back first what small objects take beyond that', () => {
    const eviction = tiered();
    eviction.admit(resident(0, 90 * mib));
    for (let at = 1; at <= 25; at += 1) eviction.admit(resident(at, mib - 1));

    const chosen = victims(eviction, 100 * mib);

    assert.deepEqual(
      chosen.slice(0, 6),
      [1, 2, 3, 4, 5, 0].map((at) => digest(at)),
    );
  });

  test('is emptied, too, when nothing large is left that could go', () => {
    const eviction = tiered();
    for (let at = 0; at < 4; at += 1) eviction.admit(resident(at, 1_000));

    assert.deepEqual(victims(eviction, 2_000), [digest(0), digest(1)]);
    assert.equal(new Set(victims(eviction, mib)).size, 4);
  });

  test('finds, touches and forgets in both tiers', () => {
    const eviction = tiered();
    eviction.admit(resident(0, 10));
    eviction.admit(resident(1, 2 * mib));

    assert.equal(eviction.touch(digest(1), 7)?.usedMs, 7);
    assert.equal(eviction.find(digest(0))?.sizeBytes, 10);
    assert.equal(eviction.forget(digest(0))?.digest, digest(0));
    assert.equal(eviction.forget(digest(0)), undefined);
    assert.deepEqual([eviction.count, eviction.usedBytes], [1, 2 * mib]);
  });
});

describe('s3-fifo', () => {
  /** Digests 0, 1, 2, … of 10 bytes each. */
  function queued(count: number): S3FifoEviction {
    const eviction = new S3FifoEviction();
    for (let at = 0; at < count; at += 1) eviction.admit(resident(at));
    return eviction;
  }

  test('lets go what was never used again, however new, before what was', () => {
    const eviction = queued(20);
    for (const at of [0, 1, 2]) eviction.touch(digest(at), 1);

    const chosen = victims(eviction, 50);

    assert.deepEqual(
      chosen,
      [3, 4, 5, 6, 7].map((at) => digest(at)),
    );
  });

  test('what comes back soon after it went does not have to prove itself again', () => {
    const eviction = queued(10);
    for (const gone of victims(eviction, 10)) eviction.forget(gone);
    eviction.admit(resident(0));
    for (let at = 20; at < 30; at += 1) eviction.admit(resident(at));

    assert.ok(!victims(eviction, 150).includes(digest(0)));
  });

  test('ends when all must stay, and when less is there than is needed', () => {
    const eviction = queued(5);
    for (let at = 0; at < 5; at += 1) eviction.touch(digest(at), 1);

    assert.deepEqual(
      victims(eviction, 50, () => true),
      [],
    );
    assert.equal(new Set(victims(eviction, 1_000)).size, 5);
  });

  test('counts, chooses from what is there, and enough of it, whatever happens', () => {
    const deed = fc.tuple(fc.constantFrom('admit', 'touch', 'forget', 'evict'), fc.nat(12));
    fc.assert(
      fc.property(fc.array(deed, { maxLength: 200 }), (deeds) => {
        const eviction = new S3FifoEviction();
        const present = new Set<Digest>();
        for (const [what, number] of deeds) {
          const one = digest(number);
          if (what === 'admit') {
            eviction.admit(resident(number));
            present.add(one);
          } else if (what === 'touch') {
            assert.equal(eviction.touch(one, 1) !== undefined, present.has(one));
          } else if (what === 'forget') {
            eviction.forget(one);
            present.delete(one);
          } else {
            const chosen = victims(eviction, number * 10);
            assert.equal(new Set(chosen).size, Math.min(number, present.size));
            for (const gone of chosen) {
              assert.ok(present.delete(gone));
              eviction.forget(gone);
            }
          }
          assert.deepEqual([eviction.count, eviction.usedBytes], [present.size, present.size * 10]);
        }
      }),
    );
  });
});

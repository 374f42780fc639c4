import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseDigest, type Digest } from '../../src/oci/digest.ts';
import type { Eviction, Resident } from '../../src/store/eviction/eviction.ts';
import { LruEviction } from '../../src/store/eviction/lru.ts';

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

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseDigest, type Digest } from '../../src/oci/digest.ts';
import { LruEviction } from '../../src/store/eviction.ts';

function digest(number: number): Digest {
  return parseDigest(`sha256:${number.toString(16).padStart(64, '0')}`);
}

const nothingInUse = (): boolean => false;

/** Digests 0, 1, 2, … of 10 bytes each, admitted in this order. */
function filled(count: number): LruEviction {
  const eviction = new LruEviction();
  for (let at = 0; at < count; at += 1) eviction.admit(digest(at), 10);
  return eviction;
}

describe('eviction', () => {
  test('takes the least recently used, as few as do', () => {
    const eviction = filled(5);
    eviction.touch(digest(0));

    assert.deepEqual(eviction.victims(15, nothingInUse), [digest(1), digest(2)]);
    assert.deepEqual(eviction.victims(0, nothingInUse), []);
  });

  test('passes over what is in use, and takes the next', () => {
    const victims = filled(5).victims(20, (one) => one === digest(0) || one === digest(2));

    assert.deepEqual(victims, [digest(1), digest(3)]);
  });

  test('offers what there is when that is not enough', () => {
    assert.deepEqual(filled(2).victims(1_000, nothingInUse), [digest(0), digest(1)]);
    assert.deepEqual(
      filled(2).victims(1_000, () => true),
      [],
    );
  });

  test('decides only: what it named stays counted until it is forgotten', () => {
    const eviction = filled(3);
    eviction.victims(20, nothingInUse);
    assert.equal(eviction.usedBytes, 30);

    eviction.forget(digest(0));
    eviction.forget(digest(0));

    assert.equal(eviction.usedBytes, 20);
    assert.equal(eviction.count, 2);
  });

  test('counts content once, however often it is admitted', () => {
    const eviction = filled(1);

    eviction.admit(digest(0), 10);

    assert.equal(eviction.usedBytes, 10);
  });

  test('touching what is not there admits nothing', () => {
    const eviction = new LruEviction();

    eviction.touch(digest(1));
    eviction.forget(digest(1));

    assert.equal(eviction.count, 0);
  });

  test('counts empty blobs and more bytes than fit in 32 bits', () => {
    const eviction = new LruEviction();
    eviction.admit(digest(1), 0);
    eviction.admit(digest(2), 2 ** 45);

    assert.equal(eviction.count, 2);
    assert.ok(eviction.usedBytes >= 2 ** 45 && eviction.usedBytes <= 2 ** 45 + 1);
    assert.deepEqual(eviction.victims(1, nothingInUse), [digest(1), digest(2)]);
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
          if (what === 'admit') eviction.admit(digest(number), 10);
          else eviction[what](digest(number));
        }

        assert.equal(eviction.usedBytes, naive.length * 10);
        assert.deepEqual(
          eviction.victims(need, nothingInUse),
          naive.slice(0, Math.ceil(need / 10)).map((number) => digest(number)),
        );
      }),
    );
  });
});

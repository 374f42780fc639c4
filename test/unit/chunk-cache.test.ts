import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { chunkBytes, ChunkCache, type Chunk, type ChunkMap } from '../../src/store/chunk-cache.ts';

/** A chunk full of `byte`, held. */
function fill(cache: ChunkCache, home: ChunkMap, index: number, byte: number): Chunk | undefined {
  const chunk = cache.begin(home, index, 0, chunkBytes);
  if (chunk === undefined) return undefined;
  chunk.buffer.fill(byte);
  chunk.to = chunk.buffer.length;
  return chunk;
}

function filled(cache: ChunkCache, home: ChunkMap, index: number, byte: number): Chunk {
  return fill(cache, home, index, byte) ?? assert.fail('no memory');
}

describe('the chunk cache', () => {
  test('gives the same bytes to all who hold a chunk', () => {
    const cache = new ChunkCache();
    const home: ChunkMap = new Map();
    const chunk = filled(cache, home, 3, 1);

    assert.equal(cache.hold(home, 3, 0), chunk);
    assert.equal(cache.hold(home, 3, chunkBytes - 1), chunk);
    assert.equal(cache.hold(home, 4, 0), undefined);
    assert.equal(cache.hold(new Map(), 3, 0), undefined);
  });

  test('holds a chunk only where it is filled', () => {
    const cache = new ChunkCache();
    const home: ChunkMap = new Map();
    const chunk = cache.begin(home, 0, 100, chunkBytes);
    assert.ok(chunk !== undefined);

    assert.equal(cache.hold(home, 0, 100), undefined, 'nothing is filled yet');
    chunk.to = 200;

    assert.equal(cache.hold(home, 0, 99), undefined);
    assert.equal(cache.hold(home, 0, 100), chunk);
    assert.equal(cache.hold(home, 0, 200), undefined);
  });

  test('never allocates more than its cap: beyond it, when all is held, callers do without', () => {
    const cache = new ChunkCache(3 * chunkBytes);
    const home: ChunkMap = new Map();
    const held = [0, 1, 2].map((index) => filled(cache, home, index, index));

    assert.equal(fill(cache, home, 3, 3), undefined);
    assert.equal(cache.allocatedBytes, 3 * chunkBytes);

    cache.release(held[1]!);
    assert.ok(fill(cache, home, 3, 3) !== undefined);
    assert.equal(cache.allocatedBytes, 3 * chunkBytes);
  });

  test('keeps half of its memory for those that move', () => {
    const cache = new ChunkCache(4 * chunkBytes);
    const home: ChunkMap = new Map();
    const chunks = [0, 1, 2].map((index) => filled(cache, home, index, index));
    cache.release(chunks[2]!);
    assert.equal(cache.mayPin(false), false, 'half is held');

    assert.equal(cache.hold(home, 2, 0, false), undefined, 'nobody else holds it');
    assert.equal(cache.hold(home, 1, 0, false), chunks[1], 'it is held anyway');
    assert.equal(cache.hold(home, 2, 0, true), chunks[2]);

    cache.release(chunks[2]!);
    cache.release(chunks[0]!);
    assert.equal(cache.mayPin(false), true);
    assert.equal(cache.hold(home, 2, 0, false), chunks[2]);
  });

  test('lets the idle chunk go that was used the longest ago', () => {
    const cache = new ChunkCache(2 * chunkBytes);
    const home: ChunkMap = new Map();
    for (const index of [0, 1]) cache.release(filled(cache, home, index, index));
    const again = cache.hold(home, 0, 0);
    assert.ok(again !== undefined);
    cache.release(again);

    filled(cache, home, 2, 2);

    assert.equal(cache.hold(home, 1, 0), undefined);
    assert.equal(cache.hold(home, 0, 0)?.buffer[0], 0);
  });

  test('a replaced chunk stays whole for those who hold it, and is freed by the last of them', () => {
    const cache = new ChunkCache(2 * chunkBytes);
    const home: ChunkMap = new Map();
    const first = filled(cache, home, 0, 1);
    cache.hold(home, 0, 0);
    const second = filled(cache, home, 0, 2);

    assert.equal(cache.hold(home, 0, 0), second);
    cache.release(first);
    assert.equal(fill(cache, home, 1, 3), undefined, 'one still holds the first');
    assert.equal(first.buffer[0], 1);
    cache.release(first);

    assert.ok(fill(cache, home, 1, 3) !== undefined);
    assert.equal(cache.hold(home, 0, 0), second, 'the replacement has not gone with it');
  });

  test('a replaced chunk that nobody holds is freed at once, before any that is still of use', () => {
    const cache = new ChunkCache(3 * chunkBytes);
    const home: ChunkMap = new Map();
    for (const index of [1, 0]) cache.release(filled(cache, home, index, index));

    const second = filled(cache, home, 0, 2);
    filled(cache, home, 2, 3);

    assert.equal(cache.hold(home, 0, 0), second);
    assert.equal(cache.hold(home, 1, 0)?.buffer[0], 1);
  });

  test('a replaced chunk whose memory the new one takes is not freed twice', () => {
    const cache = new ChunkCache(2 * chunkBytes);
    const home: ChunkMap = new Map();
    cache.release(filled(cache, home, 0, 1));
    cache.release(filled(cache, home, 1, 2));

    const replacing = filled(cache, home, 0, 3);
    const others = [filled(cache, home, 2, 4), fill(cache, home, 3, 5)];

    assert.ok(replacing.buffer.every((byte) => byte === 3));
    assert.equal(others[1], undefined, 'all memory is held');
  });

  test('a dropped file leaves its memory to others; who holds a chunk keeps it', () => {
    const cache = new ChunkCache(2 * chunkBytes);
    const home: ChunkMap = new Map();
    const held = filled(cache, home, 0, 1);
    cache.release(filled(cache, home, 1, 2));

    cache.drop(home);

    assert.equal(cache.hold(home, 0, 0), undefined);
    const other: ChunkMap = new Map();
    filled(cache, other, 0, 3);
    assert.equal(fill(cache, other, 1, 4), undefined);
    assert.equal(held.buffer[0], 1);
    cache.release(held);
    assert.ok(fill(cache, other, 1, 4) !== undefined);
  });

  test('a chunk in which nothing arrived is not kept', () => {
    const cache = new ChunkCache(chunkBytes);
    const home: ChunkMap = new Map();
    const chunk = cache.begin(home, 0, 0, chunkBytes);
    assert.ok(chunk !== undefined);

    cache.release(chunk);

    assert.equal(home.size, 0);
  });

  test('small last chunks cost what they hold', () => {
    const cache = new ChunkCache(chunkBytes);
    const home: ChunkMap = new Map();

    for (let index = 0; index < 10; index += 1) {
      assert.equal(cache.begin(home, index, 0, 1_000)?.buffer.length, 1_000);
    }

    assert.equal(cache.allocatedBytes, 10_000);
  });

  test('whatever happens, the cap is held and no held chunk loses its bytes', () => {
    const cap = 4 * chunkBytes;
    const deed = fc.record({
      what: fc.constantFrom('begin', 'hold', 'release', 'release', 'drop'),
      index: fc.nat(3),
      file: fc.nat(1),
      isSmall: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(deed, { maxLength: 60 }), (deeds) => {
        const cache = new ChunkCache(cap);
        const homes: ChunkMap[] = [new Map(), new Map()];
        const held: { chunk: Chunk; byte: number }[] = [];
        for (const [byte, { what, index, file, isSmall }] of deeds.entries()) {
          const home = homes[file] ?? assert.fail();
          if (what === 'begin') {
            const chunk = cache.begin(home, index, 0, isSmall ? 1_000 : chunkBytes);
            if (chunk === undefined) {
              const heldBytes = new Set(held.map((one) => one.chunk));
              const sum = [...heldBytes].reduce((sum, one) => sum + one.buffer.length, 0);
              assert.ok(sum + chunkBytes > cap, 'there was memory that nobody held');
              continue;
            }
            chunk.buffer.fill(byte);
            chunk.to = chunk.buffer.length;
            held.push({ chunk, byte });
          } else if (what === 'hold') {
            const chunk = cache.hold(home, index, 0);
            if (chunk !== undefined) held.push({ chunk, byte: chunk.buffer[0] ?? -1 });
          } else if (what === 'release') {
            const [one] = held.splice(index % Math.max(1, held.length), 1);
            if (one !== undefined) cache.release(one.chunk);
          } else cache.drop(home);

          assert.ok(cache.allocatedBytes <= cap);
          for (const { chunk, byte } of held) {
            assert.equal(chunk.buffer[0], byte);
            assert.equal(chunk.buffer.at(-1), byte);
          }
        }
        for (const { chunk } of held) cache.release(chunk);
        for (const home of homes) cache.drop(home);
        const all = [0, 1, 2, 3].map((index) => fill(cache, new Map(), index, 1));
        assert.ok(!all.includes(undefined), 'all memory is there again');
      }),
    );
  });
});

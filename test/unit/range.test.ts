import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseRange } from '../../src/http/range.ts';
import { isMirrorError, type ErrorCode } from '../../src/oci/errors.ts';

const sizeBytes = 1_000;

function pairsOf(header: string | undefined, size = sizeBytes): number[][] | undefined {
  return parseRange(header, size)?.map(({ start, end }) => [start, end]);
}

/** `count` ranges of one byte each. */
function many(count: number): string {
  return `bytes=${Array.from({ length: count }, (_, at) => `${at * 2}-${at * 2}`).join(',')}`;
}

describe('ranges', () => {
  const headers: [header: string, expected: number[][]][] = [
    ['bytes=0-0', [[0, 1]]],
    ['bytes=0-9223372036854775807', [[0, 1000]]],
    [
      'bytes=0-1,,4-5',
      [
        [0, 2],
        [4, 6],
      ],
    ],
    ['bytes=0-1', [[0, 2]]],
    ['bytes=0-999', [[0, 1000]]],
    ['bytes=500-', [[500, 1000]]],
    ['bytes=-1', [[999, 1000]]],
    ['bytes=-1000', [[0, 1000]]],
    ['bytes=-5000', [[0, 1000]]],
    ['bytes=990-5000', [[990, 1000]]],
    ['bytes=999-', [[999, 1000]]],
    ['bytes=0-999999999999999', [[0, 1000]]],
    ['BYTES=0-1', [[0, 2]]],
    [
      'bytes = 0-1 , 4-5',
      [
        [0, 2],
        [4, 6],
      ],
    ],
    [
      'bytes=0-1,4-5',
      [
        [0, 2],
        [4, 6],
      ],
    ],
    [
      'bytes=4-5,0-1',
      [
        [4, 6],
        [0, 2],
      ],
    ],
    [
      'bytes=0-9,5-14',
      [
        [0, 10],
        [5, 15],
      ],
    ],
    [
      'bytes=0-1,2000-3000,4-5',
      [
        [0, 2],
        [4, 6],
      ],
    ],
    ['bytes=0-1,-0', [[0, 2]]],
  ];
  for (const [header, expected] of headers) {
    test(`«${header}» of ${sizeBytes} bytes is ${JSON.stringify(expected)}`, () => {
      assert.deepEqual(pairsOf(header), expected);
    });
  }

  test('no header, or another unit, means the whole', () => {
    assert.equal(pairsOf(undefined), undefined);
    assert.equal(pairsOf('items=0-5'), undefined);
  });

  test('1024 ranges come in the order of the request, as podman asks for them', () => {
    const ranges = pairsOf(many(1024), 10_000);

    assert.equal(ranges?.length, 1024);
    assert.deepEqual(ranges[1023], [2046, 2047]);
  });

  test('the same byte may be asked for twice, within reason', () => {
    assert.equal(pairsOf('bytes=0-,0-')?.length, 2);
  });
});

describe('ranges that cannot be served', () => {
  const headers: [header: string, size: number, code: ErrorCode][] = [
    ['bytes=1000-', 1000, 'RANGE_UNSATISFIABLE'],
    ['bytes=1000-1001', 1000, 'RANGE_UNSATISFIABLE'],
    ['bytes=500-0', 1000, 'RANGE_UNSATISFIABLE'],
    ['bytes=-0', 1000, 'RANGE_UNSATISFIABLE'],
    ['bytes=2000-,3000-', 1000, 'RANGE_UNSATISFIABLE'],
    ['bytes=0-0', 0, 'RANGE_UNSATISFIABLE'],
    ['bytes=-1', 0, 'RANGE_UNSATISFIABLE'],
    ['', 1000, 'REQUEST_INVALID'],
    ['bytes', 1000, 'REQUEST_INVALID'],
    ['bytes=', 1000, 'REQUEST_INVALID'],
    ['bytes=-', 1000, 'REQUEST_INVALID'],
    ['bytes=a-b', 1000, 'REQUEST_INVALID'],
    ['bytes=1', 1000, 'REQUEST_INVALID'],
    ['bytes=1-2-3', 1000, 'REQUEST_INVALID'],
    ['bytes=--1', 1000, 'REQUEST_INVALID'],
    ['bytes=0x1-2', 1000, 'REQUEST_INVALID'],
    ['bytes=1.5-2', 1000, 'REQUEST_INVALID'],
    ['bytes=0-1;2-3', 1000, 'REQUEST_INVALID'],
    ['bytes=٠-١', 1000, 'REQUEST_INVALID'],
    ['=0-1', 1000, 'REQUEST_INVALID'],
    [many(1025), 10_000, 'REQUEST_INVALID'],
    [`bytes=${Array.from({ length: 1024 }, () => '0-').join(',')}`, 100_000, 'REQUEST_INVALID'],
  ];
  for (const [header, size, code] of headers) {
    test(`«${header.slice(0, 40)}» of ${size} bytes: ${code}`, () => {
      assert.throws(
        () => parseRange(header, size),
        (error) => isMirrorError(error, code) || assert.fail(String(error)),
      );
    });
  }

  test('416 knows the size, for Content-Range', () => {
    assert.throws(() => parseRange('bytes=1000-', 1000), { detail: { sizeBytes: 1000 } });
  });
});

test('whatever is asked, what is answered lies within the content and is bounded', () => {
  const spec = fc.stringMatching(/^(\d{0,4}-\d{0,4}|x)$/);
  fc.assert(
    fc.property(fc.array(spec, { maxLength: 6 }), fc.nat(2_000), (specs, size) => {
      try {
        const ranges = parseRange(`bytes=${specs.join(',')}`, size) ?? assert.fail();
        for (const { start, end } of ranges) assert.ok(start >= 0 && start < end && end <= size);
        assert.ok(ranges.length > 0 && ranges.length <= specs.length);
      } catch (error) {
        if (!isMirrorError(error, 'RANGE_UNSATISFIABLE', 'REQUEST_INVALID')) throw error;
      }
    }),
  );
});

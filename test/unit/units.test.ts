import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { formatBytes, parseDurationMs, parseSizeBytes } from '../../src/base/units.ts';

describe('sizes', () => {
  const sizes: [string, number][] = [
    ['0', 0],
    ['1048576', 1_048_576],
    ['12B', 12],
    ['32g', 34_359_738_368],
    ['50GiB', 53_687_091_200],
    ['500MB', 500_000_000],
    ['1.5 KiB', 1536],
    [' 2TiB ', 2_199_023_255_552],
  ];
  for (const [text, bytes] of sizes) {
    test(`«${text}» is ${bytes} bytes`, () => {
      assert.equal(parseSizeBytes(text), bytes);
    });
  }

  for (const text of ['', '-1', 'GiB', '5 apples', '1e9', '50GiBs', '99999999TiB', '0x10', 'NaN']) {
    test(`«${text}» is refused with an example`, () => {
      assert.throws(() => parseSizeBytes(text), { name: 'RangeError', message: /50GiB/ });
    });
  }
});

describe('durations', () => {
  const durations: [string, number][] = [
    ['0', 0],
    ['250ms', 250],
    ['90s', 90_000],
    ['10m', 600_000],
    ['7d', 604_800_000],
    ['1h30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['2w', 1_209_600_000],
  ];
  for (const [text, ms] of durations) {
    test(`«${text}» is ${ms} ms`, () => {
      assert.equal(parseDurationMs(text), ms);
    });
  }

  for (const text of ['', '90', '-1s', '10 minutes', 's', '1h 30m', '1h30', '5M', 'forever']) {
    test(`«${text}» is refused with an example`, () => {
      assert.throws(() => parseDurationMs(text), { name: 'RangeError', message: /90s/ });
    });
  }
});

test('any text is a size or a RangeError, and nothing else', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      for (const parse of [parseSizeBytes, parseDurationMs]) {
        try {
          assert.ok(Number.isSafeInteger(parse(text)));
        } catch (error) {
          assert.ok(error instanceof RangeError);
        }
      }
    }),
  );
});

test('whole KiB, MiB and GiB are read back as they were written', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 8_000_000 }),
      fc.constantFrom(1, 2, 3),
      (count, power) => {
        const unit = ['', 'KiB', 'MiB', 'GiB'][power]!;

        assert.equal(parseSizeBytes(`${count}${unit}`), count * 1024 ** power);
      },
    ),
  );
});

test('sizes for people have the largest unit that fits', () => {
  const shown = [0, 1023, 1024, 1536, 10_240, 53_687_091_200, 5 * 1024 ** 5].map(formatBytes);

  assert.deepEqual(shown, ['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '10 KiB', '50 GiB', '5120 TiB']);
});

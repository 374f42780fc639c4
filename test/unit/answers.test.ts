import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { validateHeaderValue } from 'node:http';
import { addWarning, isNoneMatch, type HeaderList } from '../../src/http/answers.ts';
import { parseDigest } from '../../src/oci/digest.ts';

const digest = parseDigest(`sha256:${'ab'.repeat(32)}`);
const other = `sha256:${'cd'.repeat(32)}`;

describe('If-None-Match', () => {
  const headers: [header: string | undefined, matches: boolean][] = [
    [undefined, false],
    ['', false],
    ['*', true],
    [' * ', true],
    [`"${digest}"`, true],
    [`W/"${digest}"`, true],
    [`"${other}", "${digest}"`, true],
    [`"${other}",W/"${digest}"`, true],
    [`"${other}"`, false],
    [digest, false],
    [`"${digest}`, false],
    [`"${digest}0"`, false],
    [`w/"${digest}"`, false],
    [`"${digest.toUpperCase()}"`, false],
  ];
  for (const [header, matches] of headers) {
    test(`«${header?.replaceAll(/(\w{4})\w{60}/g, '$1…')}»: ${matches ? 304 : 200}`, () => {
      assert.equal(isNoneMatch(header, digest), matches);
    });
  }
});

describe('a warning', () => {
  function warn(text: string, ageSeconds?: number): HeaderList {
    const headers: HeaderList = [];
    addWarning(headers, text, ageSeconds);
    return headers;
  }

  test('says what it is told, as RFC 7234 writes it', () => {
    assert.deepEqual(warn('docker.io is down'), ['Warning', '299 - "docker.io is down"']);
  });

  test('comes with the age when it is known, 0 included', () => {
    assert.deepEqual(warn('stale', 90).slice(2), ['Age', 90]);
    assert.deepEqual(warn('stale', 0).slice(2), ['Age', 0]);
  });

  test('cannot end its quotes, its line or the header', () => {
    assert.deepEqual(warn('a "b" \\ c\r\nX-Evil: 1'), ['Warning', `299 - "a 'b' ' c  X-Evil: 1"`]);
  });

  test('of any text is one that a header can carry, with two quotes and an end', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 3_000 }), (text) => {
        const value = String(warn(text)[1]);

        validateHeaderValue('Warning', value);
        assert.match(value, /^299 - "[^"\\]*"$/);
        assert.ok(value.length <= 1_100);
      }),
    );
  });
});

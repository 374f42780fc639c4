import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { algorithmOf, encodedOf, findDigest, parseDigest } from '../../src/oci/digest.ts';
import {
  canonicalRegistry,
  isRepositoryName,
  parseReference,
  parseRepositoryName,
  referenceText,
  repositoryKey,
  repositoryOf,
} from '../../src/oci/reference.ts';

const sha256 = `sha256:${'0123456789abcdef'.repeat(4)}`;
const sha512 = `sha512:${'0123456789abcdef'.repeat(8)}`;

describe('digests', () => {
  test('sha256 and sha512 of the right length are digests, and say their parts', () => {
    for (const [text, algorithm, length] of [
      [sha256, 'sha256', 64],
      [sha512, 'sha512', 128],
    ] as const) {
      const digest = parseDigest(text);

      assert.equal(algorithmOf(digest), algorithm);
      assert.equal(encodedOf(digest), text.slice(7));
      assert.equal(encodedOf(digest).length, length);
    }
  });

  const bad: [what: string, text: string][] = [
    ['nothing', ''],
    ['63 digits', sha256.slice(0, -1)],
    ['65 digits', `${sha256}0`],
    ['upper case', sha256.toUpperCase()],
    ['upper-case digits', sha256.replaceAll('a', 'A')],
    ['a digit that is none', sha256.replace(/.$/, 'g')],
    ['sha1', `sha1:${'a'.repeat(40)}`],
    ['md5', `md5:${'a'.repeat(32)}`],
    ['blake3', `blake3:${'a'.repeat(64)}`],
    ['sha512 of the length of sha256', sha256.replace('sha256', 'sha512')],
    ['sha256 of the length of sha512', sha512.replace('sha512', 'sha256')],
    ['a line break at the end', `${sha256}\n`],
    ['a blank before', ` ${sha256}`],
    ['a path', `sha256:../${'a'.repeat(61)}`],
    ['a NUL', `sha256:${'a'.repeat(63)}\0`],
    ['digits of another script', `sha256:${'١'.repeat(64)}`],
    ['no algorithm', 'a'.repeat(64)],
  ];
  for (const [what, text] of bad) {
    test(`${what}: no digest, and the error says what is expected`, () => {
      assert.equal(findDigest(text), undefined);
      assert.throws(() => parseDigest(text), {
        code: 'DIGEST_INVALID',
        message: /sha256:<64 hex digits>/,
      });
    });
  }

  test('an endless text makes no endless message', () => {
    assert.throws(
      () => parseDigest('x'.repeat(1_000_000)),
      (error: Error) => error.message.length < 400,
    );
  });
});

describe('repository names', () => {
  const good = [
    'a',
    'library/alpine',
    'a/b/c/d/e/f',
    'a.b/c_d/e__f/g-h/i---j',
    '0/1',
    'x'.repeat(255),
  ];
  for (const name of good) {
    test(`${name.slice(0, 30)} is one`, () => {
      assert.equal(parseRepositoryName(name), name);
    });
  }

  const bad = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    'A/b',
    'a..b',
    'a/../b',
    '..',
    '.a',
    'a.',
    '-a',
    'a-',
    'a___b',
    'a._b',
    'a/_b',
    'a:b',
    'a b',
    'a\n',
    'ä',
    'a\0',
    'a\\b',
    'a%2fb',
    'x'.repeat(256),
  ];
  for (const name of bad) {
    test(`${JSON.stringify(name.slice(0, 30))} is none`, () => {
      assert.equal(isRepositoryName(name), false);
      assert.throws(() => parseRepositoryName(name), { code: 'NAME_INVALID' });
    });
  }

  test('the worst name for a backtracking matcher is judged at once', () => {
    const name = `${'a-'.repeat(120)}!`;
    const startMs = performance.now();

    for (let times = 0; times < 1_000; times += 1) assert.equal(isRepositoryName(name), false);

    // A thousand linear scans of 241 characters; one quadratic or worse scan takes far longer.
    assert.ok(performance.now() - startMs < 1_000);
  });

  test('what is a name has safe components only', () => {
    const anything = fc.string({
      unit: fc.constantFrom('a', 'B', '0', '.', '-', '_', '/', ':', '%', ' ', '\\', '\n', 'é'),
    });
    fc.assert(
      fc.property(anything, (text) => {
        fc.pre(isRepositoryName(text));

        for (const component of text.split('/')) assert.match(component, /^[a-z0-9][a-z0-9._-]*$/);
        assert.ok(!text.includes('..'));
      }),
    );
  });
});

describe('registries', () => {
  for (const host of ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'Index.Docker.IO']) {
    test(`${host} is docker.io`, () => {
      assert.equal(canonicalRegistry(host), 'docker.io');
    });
  }

  test('others are themselves, in lower case', () => {
    assert.equal(canonicalRegistry('GHCR.io'), 'ghcr.io');
    assert.equal(canonicalRegistry('registry-2.docker.io'), 'registry-2.docker.io');
    assert.equal(canonicalRegistry('localhost:5000'), 'localhost:5000');
  });

  test('one component lives under library/ at Docker Hub, and only there', () => {
    assert.equal(repositoryKey(repositoryOf('docker.io', 'alpine')), 'docker.io/library/alpine');
    assert.equal(repositoryKey(repositoryOf('docker.io', 'me/app')), 'docker.io/me/app');
    assert.equal(repositoryKey(repositoryOf('ghcr.io', 'alpine')), 'ghcr.io/alpine');
  });
});

describe('references', () => {
  for (const tag of ['latest', 'v1.2.3', '_x', 'A', '0', 'a'.repeat(128), 'sha256-abc']) {
    test(`${tag.slice(0, 30)} is a tag`, () => {
      const reference = parseReference(tag);

      assert.deepEqual(reference, { tag });
      assert.equal(referenceText(reference), tag);
    });
  }

  test('a digest is a digest', () => {
    const reference = parseReference(sha512);

    assert.deepEqual(reference, { digest: sha512 });
    assert.equal(referenceText(reference), sha512);
  });

  for (const text of ['', '.a', '-a', 'a'.repeat(129), 'a b', 'a/b', '..', 'ä', 'a\n']) {
    test(`${JSON.stringify(text.slice(0, 30))} is neither: TAG_INVALID`, () => {
      assert.throws(() => parseReference(text), { code: 'TAG_INVALID' });
    });
  }

  for (const text of ['sha256:', `${sha256}0`, 'md5:abc', ':', sha256.toUpperCase()]) {
    test(`${text.slice(0, 30)} has a colon, so it is a bad digest: DIGEST_INVALID`, () => {
      assert.throws(() => parseReference(text), { code: 'DIGEST_INVALID' });
    });
  }
});

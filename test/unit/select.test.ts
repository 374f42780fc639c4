import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseImagePattern } from '../../src/mirror/select/images.ts';
import { selectTags, tagMatcher, versionOf } from '../../src/mirror/select/tags.ts';

describe('tags are selected', () => {
  const tags = ['1.9', '1.10', '1.27.0-alpine', '2.0', 'v3.1.4', 'latest', 'edge'];
  const patterns: [pattern: string, found: string[]][] = [
    ['1.9', ['1.9']],
    ['1.*', ['1.9', '1.10', '1.27.0-alpine']],
    ['?.0', ['2.0']],
    ['{latest,edge}', ['latest', 'edge']],
    ['^1.10', ['1.10']],
    ['>=2 <4', ['2.0', 'v3.1.4']],
    ['~3.1 || 1.9.x', ['1.9', 'v3.1.4']],
    ['/^v\\d/', ['v3.1.4']],
    ['*', tags],
  ];
  for (const [pattern, found] of patterns) {
    test(`by ${pattern}`, () => {
      assert.deepEqual(selectTags(tags, { include: [pattern], exclude: [] }), found);
    });
  }

  test('by the newest versions, and without what is excluded', () => {
    assert.deepEqual(selectTags(tags, { include: [], exclude: ['v*'], newest: 3 }), [
      '2.0',
      '1.27.0-alpine',
      '1.10',
    ]);
    assert.deepEqual(selectTags(['a', 'b', '1'], { include: [], exclude: [], newest: 2 }), [
      '1',
      'b',
    ]);
  });

  test('with an error for what is no pattern', () => {
    assert.throws(() => tagMatcher('>= not'), /no range of versions/);
    assert.throws(() => tagMatcher('/(/'), /no regular expression/);
  });

  test('as versions only where they are some', () => {
    assert.deepEqual(['1', 'v1.2', '1.02.3', '1.2.3-rc.1', 'latest', '1.2.3.4'].map(versionOf), [
      '1.0.0',
      '1.2.0',
      '1.2.3',
      '1.2.3-rc.1',
      undefined,
      '1.2.3-4',
    ]);
  });
});

describe('an image is named', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const names: [text: string, registry: string, name: string, tags: string | undefined][] = [
    ['nginx', 'docker.io', 'library/nginx', 'latest'],
    ['nginx:1.27', 'docker.io', 'library/nginx', '1.27'],
    ['me/app:1.*', 'docker.io', 'me/app', '1.*'],
    ['index.docker.io/library/nginx:1', 'docker.io', 'library/nginx', '1'],
    ['ghcr.io/o/i:v1', 'ghcr.io', 'o/i', 'v1'],
    ['localhost:5000/app:1', 'localhost:5000', 'app', '1'],
    ['localhost:5000/app:/^1/', 'localhost:5000', 'app', '/^1/'],
    ['nginx:/^1/', 'docker.io', 'library/nginx', '/^1/'],
    [`quay.io/o/i@${digest}`, 'quay.io', 'o/i', undefined],
    [`quay.io/o/i:1@${digest}`, 'quay.io', 'o/i', undefined],
  ];
  for (const [text, registry, name, tags] of names) {
    test(text, () => {
      const found = parseImagePattern(text);
      assert.deepEqual([found.repository, found.tags], [{ registry, name }, tags]);
    });
  }

  for (const text of ['', 'UPPER', 'a//b', 'nginx:', 'nginx@sha256:12', 'nginx:/(/']) {
    test(`not as «${text}»`, () => assert.throws(() => parseImagePattern(text), RangeError));
  }
});

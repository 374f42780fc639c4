import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseContentRange } from '../../src/upstream/content-range.ts';
import { nextPage } from '../../src/upstream/link.ts';
import type { Answer } from '../../src/upstream/exchange.ts';

const asked = 'https://r.io/v2/a/b/tags/list?n=2';

function next(link: string | string[] | undefined, url = asked): string | undefined {
  // Of an answer, only where it came from and its headers are read.
  const answer = { headers: { link }, url: new URL(url) } as unknown as Answer;
  return nextPage(answer, 'a/b', 'tags/list');
}

describe('the next page', () => {
  const followed: [what: string, link: string | string[]][] = [
    ['a path', '</v2/a/b/tags/list?last=x&n=2>; rel="next"'],
    ['a whole URL of the same origin', `<${asked.replace('n=2', 'last=x&n=2')}>; rel="next"`],
    ['the default port written out', '<https://r.io:443/v2/a/b/tags/list?last=x&n=2>; rel="next"'],
    ['a query only', '<?last=x&n=2>; rel="next"'],
    ['rel without quotes', '</v2/a/b/tags/list?last=x&n=2>; rel=next'],
    ['rel in capitals', '</v2/a/b/tags/list?last=x&n=2>; REL="NEXT"'],
    ['more parameters', '</v2/a/b/tags/list?last=x&n=2>; title="t"; rel="next"'],
    ['after another link', '</v2/a/b/x?y>; rel="prev", </v2/a/b/tags/list?last=x&n=2>; rel="next"'],
    ['in a second line', ['<?p>; rel="prev"', '</v2/a/b/tags/list?last=x&n=2>; rel="next"']],
    ['below another path, as after a redirect', '</p/v2/a/b/tags/list?last=x&n=2>; rel="next"'],
  ];
  for (const [what, link] of followed) {
    test(`is found: ${what}`, () => {
      assert.equal(next(link), 'tags/list?last=x&n=2');
    });
  }

  const ended: [what: string, link: string | undefined][] = [
    ['no link', undefined],
    ['another host', '<https://evil.example/v2/a/b/tags/list?last=x>; rel="next"'],
    ['another host without a scheme', '<//evil.example/v2/a/b/tags/list?last=x>; rel="next"'],
    ['another port', '<https://r.io:8443/v2/a/b/tags/list?last=x>; rel="next"'],
    ['plain http', '<http://r.io/v2/a/b/tags/list?last=x>; rel="next"'],
    ['another repository', '</v2/other/tags/list?last=x>; rel="next"'],
    ['another relation', '</v2/a/b/tags/list?last=x>; rel="prev"'],
    ['the relation of another link', '</v2/a/b/tags/list?last=x>; rel="prev", <:>; rel="next"'],
    ['no query, so the first page again', '</v2/a/b/tags/list>; rel="next"'],
    ['an address that cannot be read', '<https://[>; rel="next"'],
    ['an endless address', `</v2/a/b/tags/list?last=${'x'.repeat(5_000)}>; rel="next"`],
  ];
  for (const [what, link] of ended) {
    test(`is none: ${what}`, () => {
      assert.equal(next(link), undefined);
    });
  }

  test('is asked of our own path: a link chooses the query, not whom or what we ask', () => {
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true }), (url) => {
        const path = next(`<${url}>; rel="next"`);

        assert.ok(path === undefined || path.startsWith('tags/list?'));
      }),
    );
  });
});

describe('Content-Range', () => {
  const good: [string, { start: number; end: number; sizeBytes: number | undefined }][] = [
    ['bytes 0-0/1', { start: 0, end: 1, sizeBytes: 1 }],
    ['bytes 0-99/1234', { start: 0, end: 100, sizeBytes: 1234 }],
    ['bytes 1000-1233/1234', { start: 1000, end: 1234, sizeBytes: 1234 }],
    ['bytes 5-9/*', { start: 5, end: 10, sizeBytes: undefined }],
  ];
  for (const [text, expected] of good) {
    test(`«${text}» is read`, () => {
      assert.deepEqual(parseContentRange(text), expected);
    });
  }

  for (const text of [
    undefined,
    '',
    'bytes */1234',
    'bytes 5-4/10',
    'bytes 0-10/10',
    'bytes 0-9',
    'bytes -5/10',
    '0-9/10',
    'items 0-9/10',
    'bytes 0-9/10 ',
    'bytes 0-9999999999999999/*',
    'bytes 0x0-9/10',
  ]) {
    test(`«${text}» is nothing to go by`, () => {
      assert.equal(parseContentRange(text), undefined);
    });
  }
});

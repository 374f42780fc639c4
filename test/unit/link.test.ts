import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseContentRange } from '../../src/upstream/content-range.ts';
import { nextPage, type NextPage } from '../../src/upstream/link.ts';
import type { Answer } from '../../src/upstream/exchange.ts';

const asked = 'https://r.io/v2/a/b/tags/list?n=2';

function next(link: string | string[] | undefined): NextPage | undefined {
  // Of an answer, only where it came from and its headers are read.
  return nextPage({ headers: { link }, url: new URL(asked) } as unknown as Answer);
}

describe('the next page', () => {
  const followed: [what: string, link: string | string[]][] = [
    ['a path', '</v2/a/b/tags/list?last=x&n=2>; rel="next"'],
    ['a whole URL of the same origin', `<${asked.replace('n=2', 'last=x&n=2')}>; rel="next"`],
    ['a query only', '<?last=x&n=2>; rel="next"'],
    ['rel without quotes', '</v2/a/b/tags/list?last=x&n=2>; rel=next'],
    ['rel in single quotes', "</v2/a/b/tags/list?last=x&n=2>; rel='next'"],
    ['rel in capitals', '</v2/a/b/tags/list?last=x&n=2>; REL="NEXT"'],
    ['several relations', '</v2/a/b/tags/list?last=x&n=2>; rel="last next"'],
    ['spaces wherever they may be', ' <?last=x&n=2>  ;  rel = "next"  '],
    ['more parameters', '</v2/a/b/tags/list?last=x&n=2>; title="t"; rel="next"'],
    ['a comma in quotes', '<?last=x&n=2>; title="a, b; rel=prev \\" <c>"; rel="next"'],
    ['a parameter without a value', '<?last=x&n=2>; crossorigin;; rel="next"'],
    ['no angle brackets', '/v2/a/b/tags/list?last=x&n=2; rel="next"'],
    [
      'after another link',
      '</v2/a/b/x?y,z>; rel="prev", </v2/a/b/tags/list?last=x&n=2>; rel="next"',
    ],
    ['before another link', '<?last=x&n=2>; rel="next", <?y>; rel="prev"'],
    ['in a second line', ['<?p>; rel="prev"', '</v2/a/b/tags/list?last=x&n=2>; rel="next"']],
    ['below another path, as behind a proxy', '</p/v2/a/b/tags/list?last=x&n=2>; rel="next"'],
    [
      'at another host, scheme or port',
      '<http://inside:5000/v2/a/tags/list?last=x&n=2>; rel="next"',
    ],
    ['at another host without a scheme', '<//inside/v2/a/b/tags/list?last=x&n=2>; rel="next"'],
  ];
  for (const [what, link] of followed) {
    test(`is found: ${what}`, () => {
      assert.deepEqual(next(link), { query: '?last=x&n=2' });
    });
  }

  const ended: [what: string, link: string | undefined][] = [
    ['no link', undefined],
    ['an empty one', ''],
    ['another relation', '</v2/a/b/tags/list?last=x>; rel="prev"'],
    ['the first rel counts', '<?last=x>; rel="prev"; rel="next"'],
    ['no relation', '<?last=x>'],
    ['«next» in a title', '<?last=x>; title="; rel=next"; rel="prev"'],
  ];
  for (const [what, link] of ended) {
    test(`is none: ${what}`, () => {
      assert.equal(next(link), undefined);
    });
  }

  const lost: [what: string, link: string][] = [
    ['no query, so the first page again', '</v2/a/b/tags/list>; rel="next"'],
    ['an address that cannot be read', '<https://[>; rel="next"'],
    ['no address', '; rel="next"'],
    ['an open bracket', '</v2/a/b/tags/list?last=x; rel="next"'],
  ];
  for (const [what, link] of lost) {
    test(`is missing, and that is said: ${what}`, () => {
      const page = next(link);

      assert.ok(page !== undefined && 'missing' in page);
    });
  }

  test('is a query and nothing else: a link chooses neither whom nor what we ask', () => {
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true }), (url) => {
        const page = next(`<${url}>; rel="next"`);

        assert.ok(page !== undefined);
        assert.ok('missing' in page || page.query.startsWith('?'));
      }),
    );
  });

  // With time that doubles with each blank it is ten seconds and more.
  for (const unit of [';  ', '; ;', ';a= ', ' ;a = ', ', <a>; ']) {
    test(`is looked for in no more time than the header is long, where that repeats «${unit}»`, () => {
      const startMs = performance.now();

      next(`<a>${unit.repeat(18)}"`);

      assert.ok(performance.now() - startMs < 1_000);
    });
  }
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

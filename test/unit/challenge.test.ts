import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { findChallenge, parseChallenges } from '../../src/upstream/challenge.ts';

type Plain = [scheme: string, parameters: Record<string, string>];

function read(...lines: string[]): Plain[] {
  return parseChallenges(lines).map(({ scheme, parameters }) => [scheme, { ...parameters }]);
}

const hub = {
  realm: 'https://auth.docker.io/token',
  service: 'registry.docker.io',
  scope: 'repository:library/alpine:pull',
};
const basic: Plain = ['basic', { realm: 'x' }];

describe('challenges as registries send them', () => {
  const cases: [what: string, lines: string[], expected: Plain[]][] = [
    [
      'Docker Hub',
      [
        `Bearer realm="${hub.realm}",service="${hub.service}",scope="repository:library/alpine:pull"`,
      ],
      [['bearer', hub]],
    ],
    [
      'blanks after commas and around =',
      [
        `Bearer realm = "${hub.realm}" , service="${hub.service}",  scope\t=\t"repository:library/alpine:pull"`,
      ],
      [['bearer', hub]],
    ],
    ['a scheme in capitals', ['BEARER realm="r"'], [['bearer', { realm: 'r' }]]],
    ['a parameter in capitals', ['Bearer Realm="r"'], [['bearer', { realm: 'r' }]]],
    [
      'commas within quotes',
      ['Bearer realm="r",scope="repository:a:pull,push repository:b:pull",service="s"'],
      [['bearer', { realm: 'r', scope: 'repository:a:pull,push repository:b:pull', service: 's' }]],
    ],
    [
      'escapes within quotes',
      [String.raw`Basic realm="a \"b\" \\"`],
      [['basic', { realm: 'a "b" \\' }]],
    ],
    [
      'values without quotes',
      ['Bearer realm=r,service=s'],
      [['bearer', { realm: 'r', service: 's' }]],
    ],
    [
      'a realm without quotes',
      [`Bearer realm=${hub.realm},service=s`],
      [['bearer', { realm: hub.realm, service: 's' }]],
    ],
    ['an empty value', ['Bearer realm="r",scope=""'], [['bearer', { realm: 'r', scope: '' }]]],
    ['two in one line', ['Basic realm="x", Bearer realm="r"'], [basic, ['bearer', { realm: 'r' }]]],
    [
      'two in two lines',
      ['Basic realm="x"', 'Bearer realm="r"'],
      [basic, ['bearer', { realm: 'r' }]],
    ],
    [
      'one without parameters before another',
      ['Negotiate, Basic realm="x"'],
      [['negotiate', {}], basic],
    ],
    [
      'one with a token68 before another',
      ['NTLM TlRM+/==, Basic realm="x"'],
      [['ntlm', {}], basic],
    ],
    [
      'an error beside the rest',
      ['Bearer realm="r",error="insufficient_scope"'],
      [['bearer', { realm: 'r', error: 'insufficient_scope' }]],
    ],
    ['commas too many', [',, Basic realm="x",,'], [basic]],
    ['the same parameter twice: the first counts', ['Basic realm="x",realm="evil"'], [basic]],
    ['nothing', ['', '   '], []],
    [
      'an open quote: what came before counts',
      ['Basic realm="x", Bearer realm="open'],
      [basic, ['bearer', {}]],
    ],
    ['nonsense', ['="";"', '<script>'], []],
    [
      'a parameter called __proto__',
      ['Basic realm="x",__proto__="y"'],
      [['basic', { realm: 'x', ['__proto__']: 'y' }]],
    ],
  ];
  for (const [what, lines, expected] of cases) {
    test(what, () => {
      assert.deepEqual(read(...lines), expected);
    });
  }

  test('a line longer than any real one is not read, the others are', () => {
    assert.deepEqual(read(`Bearer realm="${'r'.repeat(9_000)}"`, 'Basic realm="x"'), [basic]);
  });

  test('many lines together are read no further than one long one', () => {
    const lines = Array.from({ length: 10_000 }, () => 'Basic realm="x"');

    assert.ok(read(...lines).length < 600);
  });

  test('any text is read without throwing', () => {
    const unit = fc.constantFrom('Bearer', 'realm', '=', '"', ',', ' ', '\\', 'a', 'é', '\t', ';');
    fc.assert(
      fc.property(fc.array(fc.string({ unit }), { maxLength: 3 }), (lines) => {
        for (const { scheme } of parseChallenges(lines)) assert.equal(scheme, scheme.toLowerCase());
      }),
    );
  });

  test('what is written in quotes is read as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii' }), (value) => {
        const written = value.replaceAll(/["\\]/g, String.raw`\$&`);

        assert.deepEqual(read(`Bearer a="${written}",b=c`), [['bearer', { a: value, b: 'c' }]]);
      }),
    );
  });
});

describe('of several challenges', () => {
  test('Bearer is taken before Basic, wherever it stands', () => {
    assert.equal(findChallenge(['Basic realm="x", Bearer realm="r"'])?.scheme, 'bearer');
    assert.equal(findChallenge(['Bearer realm="r"', 'Basic realm="x"'])?.scheme, 'bearer');
  });

  test('Bearer without a realm leads nowhere, so Basic is taken', () => {
    assert.equal(findChallenge(['Bearer service="s", Basic realm="x"'])?.scheme, 'basic');
  });

  test('Bearer with an empty realm leads nowhere either', () => {
    assert.equal(findChallenge(['Bearer realm=""', 'Basic realm="x"'])?.scheme, 'basic');
    assert.equal(findChallenge(['Bearer realm="", Bearer realm="r"'])?.parameters['realm'], 'r');
  });

  test('others are not spoken', () => {
    assert.equal(findChallenge(['Negotiate', 'NTLM', 'Digest realm="x"']), undefined);
    assert.equal(findChallenge([]), undefined);
  });
});

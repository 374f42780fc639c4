import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseTarget, pageMax, type RegistryRequest } from '../../src/http/request.ts';
import { isMirrorError, type ErrorCode } from '../../src/oci/errors.ts';
import { isRepositoryName, referenceText, repositoryKey } from '../../src/oci/reference.ts';

const known = new Set(['docker.io', 'ghcr.io', 'registry.k8s.io', 'localhost:5000']);
const upstreams = { has: (name: string) => known.has(name), defaultUpstream: 'docker.io' };
const sha256 = `sha256:${'0123456789abcdef'.repeat(4)}`;
const sha512 = `sha512:${'0123456789abcdef'.repeat(8)}`;

function parse(target: string): RegistryRequest {
  return parseTarget(target, upstreams);
}

/** `what registry/name reference`, as far as the request has them. */
function summaryOf(request: RegistryRequest): string {
  const words: string[] = [request.what];
  if ('repository' in request) words.push(repositoryKey(request.repository));
  if ('reference' in request) words.push(referenceText(request.reference));
  if ('digest' in request) words.push(request.digest);
  return words.join(' ');
}

describe('what is asked for', () => {
  const targets: [target: string, summary: string][] = [
    ['/v2', 'ping'],
    ['/v2/', 'ping'],
    ['/v2/?ns=ghcr.io', 'ping'],
    ['/ghcr.io/v2', 'ping'],
    ['/ghcr.io/v2/', 'ping'],
    ['/v2/_catalog', 'catalog'],
    ['/ghcr.io/v2/_catalog?n=5', 'catalog'],
    // The default upstream.
    ['/v2/alpine/manifests/3.22', 'manifest docker.io/library/alpine 3.22'],
    ['/v2/library/alpine/manifests/latest', 'manifest docker.io/library/alpine latest'],
    ['/v2/a/b/c/manifests/latest', 'manifest docker.io/a/b/c latest'],
    // Named by `ns`.
    ['/v2/org/app/manifests/v1?ns=ghcr.io', 'manifest ghcr.io/org/app v1'],
    ['/v2/app/manifests/v1?ns=ghcr.io', 'manifest ghcr.io/app v1'],
    ['/v2/org/app/manifests/v1?ns=GHCR.IO', 'manifest ghcr.io/org/app v1'],
    ['/v2/alpine/manifests/v1?ns=index.docker.io', 'manifest docker.io/library/alpine v1'],
    ['/v2/alpine/manifests/v1?ns=registry-1.docker.io', 'manifest docker.io/library/alpine v1'],
    ['/v2/x/manifests/v1?ns=localhost%3A5000', 'manifest localhost:5000/x v1'],
    ['/v2/org/app/manifests/v1?ns=ghcr.io&ns=docker.io', 'manifest ghcr.io/org/app v1'],
    // Named by the prefix.
    ['/ghcr.io/v2/org/app/manifests/v1', 'manifest ghcr.io/org/app v1'],
    ['/docker.io/v2/alpine/manifests/v1', 'manifest docker.io/library/alpine v1'],
    ['/localhost:5000/v2/x/manifests/v1', 'manifest localhost:5000/x v1'],
    ['/v2/v2/x/manifests/v1', 'manifest docker.io/v2/x v1'],
    // Named by the first segment.
    ['/v2/ghcr.io/org/app/manifests/v1', 'manifest ghcr.io/org/app v1'],
    ['/v2/docker.io/alpine/manifests/v1', 'manifest docker.io/library/alpine v1'],
    ['/v2/registry-1.docker.io/alpine/manifests/v1', 'manifest docker.io/library/alpine v1'],
    ['/v2/localhost:5000/x/manifests/v1', 'manifest localhost:5000/x v1'],
    // Named twice: BuildKit's mirrors with a path, containerd's override_path.
    ['/v2/ghcr.io/org/app/manifests/v1?ns=ghcr.io', 'manifest ghcr.io/org/app v1'],
    ['/v2/docker.io/alpine/manifests/v1?ns=docker.io', 'manifest docker.io/library/alpine v1'],
    ['/v2/index.docker.io/a/b/manifests/v1?ns=docker.io', 'manifest docker.io/a/b v1'],
    ['/ghcr.io/v2/ghcr.io/org/app/manifests/v1', 'manifest ghcr.io/org/app v1'],
    ['/v2/ghcr.io/manifests/v1?ns=ghcr.io', 'manifest ghcr.io/ghcr.io v1'],
    // Once the upstream is named, the rest is the repository there.
    ['/v2/ghcr.io/app/manifests/v1?ns=docker.io', 'manifest docker.io/ghcr.io/app v1'],
    // The other endpoints.
    [`/v2/alpine/manifests/${sha256}`, `manifest docker.io/library/alpine ${sha256}`],
    [`/v2/alpine/manifests/${sha512}`, `manifest docker.io/library/alpine ${sha512}`],
    [`/v2/alpine/blobs/${sha256}`, `blob docker.io/library/alpine ${sha256}`],
    [`/v2/alpine/blobs/${sha256.replace(':', '%3A')}`, `blob docker.io/library/alpine ${sha256}`],
    [`/v2/alpine/blobs/${sha256.replace(':', '%3a')}`, `blob docker.io/library/alpine ${sha256}`],
    [`/v2/alpine/referrers/${sha256}`, `referrers docker.io/library/alpine ${sha256}`],
    ['/v2/alpine/tags/list', 'tags docker.io/library/alpine'],
    ['/v2/alpine/tags/list?n=0&last=3.22', 'tags docker.io/library/alpine'],
    // Names that look like endpoints.
    ['/v2/manifests/manifests/latest', 'manifest docker.io/library/manifests latest'],
    ['/v2/a/tags/list/tags/list', 'tags docker.io/a/tags/list'],
    ['/v2/blobs/tags/manifests/list', 'manifest docker.io/blobs/tags list'],
  ];
  for (const [target, summary] of targets) {
    test(`${target.slice(0, 60)} is ${summary.slice(0, 60)}`, () => {
      assert.equal(summaryOf(parse(target)), summary);
    });
  }
});

describe('what is refused', () => {
  const long = 'x'.repeat(300);
  const targets: [target: string, code: ErrorCode][] = [
    // Paths that lead somewhere else if anybody resolves them.
    ['/v2/../etc/passwd', 'PATH_UNKNOWN'],
    ['/v2/../../../manifests/latest', 'NAME_INVALID'],
    ['/v2/a/../b/manifests/latest', 'NAME_INVALID'],
    ['/v2/a/./b/manifests/latest', 'NAME_INVALID'],
    ['/v2/a/manifests/..', 'TAG_INVALID'],
    ['/v2/%2e%2e/manifests/latest', 'NAME_INVALID'],
    ['/v2/a%2fb/manifests/latest', 'NAME_INVALID'],
    ['/v2/a%252fb/manifests/latest', 'NAME_INVALID'],
    ['/v2/a\\..\\b/manifests/latest', 'NAME_INVALID'],
    ['/v2/a%5cb/manifests/latest', 'NAME_INVALID'],
    ['/v2/a%00b/manifests/latest', 'NAME_INVALID'],
    ['/v2/a\0b/manifests/latest', 'NAME_INVALID'],
    ['/v2/a%0d%0ab/manifests/latest', 'NAME_INVALID'],
    ['//evil/v2/', 'PATH_UNKNOWN'],
    ['//evil/v2/a/manifests/latest', 'PATH_UNKNOWN'],
    ['/v2//a/manifests/latest', 'NAME_INVALID'],
    ['/v2/a//b/manifests/latest', 'NAME_INVALID'],
    ['http://evil.example/v2/a/manifests/latest', 'PATH_UNKNOWN'],
    ['evil.example:443', 'PATH_UNKNOWN'],
    ['*', 'NAME_INVALID'],
    ['', 'PATH_UNKNOWN'],
    ['?', 'PATH_UNKNOWN'],
    ['/', 'PATH_UNKNOWN'],
    ['/v1/', 'PATH_UNKNOWN'],
    ['/v2x/', 'PATH_UNKNOWN'],
    ['/V2/', 'PATH_UNKNOWN'],
    ['/a/b/v2/', 'PATH_UNKNOWN'],
    // Names.
    ['/v2/Alpine/manifests/latest', 'NAME_INVALID'],
    ['/v2/a:b/manifests/latest', 'NAME_INVALID'],
    ['/v2/-a/manifests/latest', 'NAME_INVALID'],
    ['/v2/a b/manifests/latest', 'NAME_INVALID'],
    ['/v2/ä/manifests/latest', 'NAME_INVALID'],
    ['/v2/a;b/manifests/latest', 'NAME_INVALID'],
    [`/v2/${long}/manifests/latest`, 'NAME_INVALID'],
    [`/v2/ghcr.io/${long}/manifests/latest`, 'NAME_INVALID'],
    [`/v2/${'a/'.repeat(3_000)}manifests/latest`, 'NAME_INVALID'],
    // References.
    ['/v2/a/manifests/', 'TAG_INVALID'],
    ['/v2/a/manifests/.a', 'TAG_INVALID'],
    [`/v2/a/manifests/${'a'.repeat(129)}`, 'TAG_INVALID'],
    [`/v2/a/manifests/${sha256}0`, 'DIGEST_INVALID'],
    [`/v2/a/blobs/${sha256}0`, 'DIGEST_INVALID'],
    [`/v2/a/blobs/${sha256.slice(0, -1)}`, 'DIGEST_INVALID'],
    [`/v2/a/blobs/sha256:${'A'.repeat(64)}`, 'DIGEST_INVALID'],
    [`/v2/a/blobs/sha1:${'a'.repeat(40)}`, 'DIGEST_INVALID'],
    ['/v2/a/blobs/latest', 'DIGEST_INVALID'],
    ['/v2/a/blobs/', 'DIGEST_INVALID'],
    ['/v2/a/referrers/latest', 'DIGEST_INVALID'],
    // Registries that nobody configured.
    ['/v2/a/manifests/latest?ns=evil.example', 'NAME_UNKNOWN'],
    ['/v2/a/manifests/latest?ns=', 'NAME_UNKNOWN'],
    ['/v2/a/manifests/latest?ns=ghcr.io/../evil', 'NAME_UNKNOWN'],
    ['/v2/a/manifests/latest?ns=ghcr.io%0d%0aX-Evil:1', 'NAME_UNKNOWN'],
    ['/evil.example/v2/', 'NAME_UNKNOWN'],
    ['/evil.example/v2/a/manifests/latest', 'NAME_UNKNOWN'],
    ['/../v2/a/manifests/latest', 'NAME_UNKNOWN'],
    ['/v2/foo.bar/x/manifests/latest', 'NAME_UNKNOWN'],
    ['/v2/foo:5000/x/manifests/latest', 'NAME_UNKNOWN'],
    ['/v2/localhost/x/manifests/latest', 'NAME_UNKNOWN'],
    // Endpoints.
    ['/v2/a', 'PATH_UNKNOWN'],
    ['/v2/manifests/latest', 'PATH_UNKNOWN'],
    ['/v2/a/manifests', 'PATH_UNKNOWN'],
    ['/v2/a/manifests/latest/', 'PATH_UNKNOWN'],
    ['/v2/a/tags/list/', 'PATH_UNKNOWN'],
    ['/v2/a/tags/', 'PATH_UNKNOWN'],
    ['/v2/a/blobs/uploads/', 'PATH_UNKNOWN'],
    ['/v2/_catalog/', 'PATH_UNKNOWN'],
    // Pages.
    ['/v2/a/tags/list?n=-1', 'REQUEST_INVALID'],
    ['/v2/a/tags/list?n=1e3', 'REQUEST_INVALID'],
    ['/v2/a/tags/list?n=99999999999999999999', 'REQUEST_INVALID'],
    ['/v2/_catalog?n=x', 'REQUEST_INVALID'],
    ['/v2/a/tags/list?last=a%0d%0ab', 'REQUEST_INVALID'],
    ['/v2/a/tags/list?last=%22%3E', 'REQUEST_INVALID'],
    [`/v2/_catalog?last=${'a'.repeat(513)}`, 'REQUEST_INVALID'],
  ];
  for (const [target, code] of targets) {
    test(`${JSON.stringify(target.slice(0, 60))}: ${code}`, () => {
      assert.throws(
        () => parse(target),
        (error) => isMirrorError(error, code) || assert.fail(String(error)),
      );
    });
  }
});

describe('beside the name', () => {
  test('the ns of the client is kept for the echo, and the prefix for links', () => {
    const { ns, prefix } = parse('/docker.io/v2/?ns=GHCR.io');

    assert.deepEqual([ns, prefix], ['GHCR.io', '/docker.io']);
    assert.equal(parse('/v2/').ns, undefined);
    assert.equal(parse('/v2/').prefix, '');
  });

  test('an ns of a letter that only becomes the right one in lower case names no upstream', () => {
    // U+212A, the Kelvin sign, is «k» in lower case; a header cannot carry it.
    assert.throws(
      () => parse('/v2/?ns=doc%E2%84%AAer.io'),
      (error) => isMirrorError(error, 'NAME_UNKNOWN', 'NAME_INVALID'),
    );
  });

  test('the path of a list is the one that was asked for, without the query', () => {
    const tags = parse('/ghcr.io/v2/a/b/tags/list?n=5&ns=ghcr.io');

    assert.equal(tags.what === 'tags' && tags.path, '/ghcr.io/v2/a/b/tags/list');
  });

  test('a page has n and last; a huge n is cut to what one answer holds', () => {
    const pageOf = (query: string): unknown => {
      const request = parse(`/v2/_catalog?${query}`);
      return request.what === 'catalog' && request.page;
    };

    assert.deepEqual(pageOf(''), { n: undefined, last: undefined });
    assert.deepEqual(pageOf('n=&last='), { n: undefined, last: undefined });
    assert.deepEqual(pageOf('n=0'), { n: 0, last: undefined });
    assert.deepEqual(pageOf('n=7&last=ghcr.io/org/app'), { n: 7, last: 'ghcr.io/org/app' });
    assert.deepEqual(pageOf('n=999999999&last=V1'), { n: pageMax, last: 'V1' });
  });

  test('a catalog is of one registry when the request names one', () => {
    const registryOf = (target: string): unknown => {
      const request = parse(target);
      return request.what === 'catalog' && request.registry;
    };

    assert.equal(registryOf('/v2/_catalog'), undefined);
    assert.equal(registryOf('/v2/_catalog?ns=ghcr.io'), 'ghcr.io');
    assert.equal(registryOf('/index.docker.io/v2/_catalog'), 'docker.io');
  });

  test('artifact types are unescaped, and each of them is wanted; an empty one is none', () => {
    const typesOf = (query: string): unknown => {
      const request = parse(`/v2/a/referrers/${sha256}?${query}`);
      return request.what === 'referrers' && request.artifactTypes;
    };

    assert.deepEqual(typesOf('artifactType=application%2Fspdx%2Bjson'), ['application/spdx+json']);
    assert.deepEqual(typesOf('artifactType=t/a&artifactType=t/b'), ['t/a', 't/b']);
    assert.deepEqual(typesOf('artifactType='), []);
    assert.deepEqual(typesOf('ns=docker.io'), []);
  });
});

const bits = [
  '/ / /v2/ v2 a ghcr.io docker.io localhost :5000 .. . %3A %2e %00 \\ manifests blobs tags/list',
  `referrers ${sha256} latest A _catalog ? & ns= n= last= 1 é \u212a doc er.io - `,
];
const bit = fc.constantFrom('\n', ...bits.join(' ').split(' '));

test('any target is a request within the grammar or a MirrorError, and nothing else', () => {
  const target = fc.oneof(
    fc.array(bit, { maxLength: 14 }).map((bits) => bits.join('')),
    fc.array(bit, { maxLength: 8 }).map((bits) => `/v2/${bits.join('')}/manifests/latest`),
    fc.string({ unit: 'binary' }),
  );
  fc.assert(
    fc.property(target, (target) => {
      try {
        const request = parse(target);
        assert.match(request.prefix, /^(?:\/[A-Za-z0-9._:-]+)?$/);
        if (!('repository' in request)) return;
        assert.ok(known.has(request.repository.registry));
        assert.ok(isRepositoryName(request.repository.name));
      } catch (error) {
        if (!isMirrorError(error)) throw error;
      }
    }),
    { numRuns: 5_000 },
  );
});

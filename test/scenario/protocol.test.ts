import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { get, type GetOptions } from '../kit/clients.ts';
import { makeBlob, makeImage, sha256, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'protocol', layers: [100_000] });
const blob = makeBlob('protocol blob', 1_000_000);
const absent = sha256(Buffer.from('nowhere'));

describe('the registry door', () => {
  let upstream: ScriptedRegistry;
  let ghcr: ScriptedRegistry;
  let mirror: TestMirror;

  before(async () => {
    upstream = await startScriptedRegistry();
    ghcr = await startScriptedRegistry();
    for (const tag of ['1', '2', '3', '10', 'latest']) upstream.add('library/app', image, tag);
    upstream.addBlob('library/app', blob);
    ghcr.add('org/tool', image, 'v1');
    mirror = await startMirror({
      upstream,
      config: { upstreams: { 'ghcr.io': { urls: [ghcr.url] } } },
    });
  });

  after(async () => {
    await mirror[Symbol.asyncDispose]();
    await upstream.stop();
    await ghcr.stop();
  });

  const ask = (path: string, options?: GetOptions) => get(mirror.url + path, options);

  const wrong: readonly (readonly [string, string, number, string])[] = [
    ['GET', '/', 404, 'NAME_UNKNOWN'],
    ['GET', '/v1/search', 404, 'NAME_UNKNOWN'],
    ['GET', '/v2/app', 404, 'NAME_UNKNOWN'],
    ['GET', '/v2/UPPER/manifests/1', 400, 'NAME_INVALID'],
    ['GET', '/v2/a//b/manifests/1', 400, 'NAME_INVALID'],
    ['GET', `/v2/${'a'.repeat(300)}/manifests/1`, 400, 'NAME_INVALID'],
    ['GET', '/v2/app/manifests/.hidden', 404, 'MANIFEST_UNKNOWN'],
    ['GET', `/v2/app/manifests/${'t'.repeat(129)}`, 404, 'MANIFEST_UNKNOWN'],
    ['GET', '/v2/app/manifests/sha256:baddigeststring', 400, 'DIGEST_INVALID'],
    ['GET', '/v2/app/blobs/latest', 400, 'DIGEST_INVALID'],
    ['GET', `/v2/app/blobs/${blob.digest.toUpperCase()}`, 400, 'DIGEST_INVALID'],
    ['GET', `/v2/app/blobs/${blob.digest}0`, 400, 'DIGEST_INVALID'],
    ['GET', `/v2/app/blobs/md5:${'0'.repeat(32)}`, 400, 'DIGEST_INVALID'],
    ['GET', '/v2/app/referrers/nonsense', 400, 'DIGEST_INVALID'],
    ['GET', '/v2/app/manifests/nope', 404, 'MANIFEST_UNKNOWN'],
    ['GET', `/v2/app/manifests/${absent}`, 404, 'MANIFEST_UNKNOWN'],
    ['GET', `/v2/app/blobs/${absent}`, 404, 'BLOB_UNKNOWN'],
    ['GET', '/v2/app/manifests/1?ns=evil.example', 404, 'NAME_UNKNOWN'],
    ['GET', '/evil.example/v2/app/manifests/1', 404, 'NAME_UNKNOWN'],
    ['GET', '/v2/evil.example/app/manifests/1', 404, 'NAME_UNKNOWN'],
    ['GET', '/v2/app/tags/list?n=many', 400, 'UNSUPPORTED'],
    ['POST', '/v2/app/blobs/uploads/', 405, 'UNSUPPORTED'],
    ['PUT', '/v2/app/manifests/1', 405, 'UNSUPPORTED'],
    ['PATCH', '/v2/app/blobs/uploads/x', 405, 'UNSUPPORTED'],
    ['DELETE', '/v2/app/manifests/1', 405, 'UNSUPPORTED'],
    ['PROPFIND', '/v2/', 405, 'UNSUPPORTED'],
  ];
  for (const [method, path, status, code] of wrong) {
    test(`${method} ${path.slice(0, 60)} is ${status} ${code}`, async () => {
      const answer = await ask(path, { method });

      assert.equal(answer.status, status);
      assert.equal(answer.headers['content-type'], 'application/json');
      const { errors } = JSON.parse(answer.body.toString()) as {
        errors: { code: string; message: string }[];
      };
      assert.equal(errors[0]?.code, code);
      assert.notEqual(errors[0]?.message, '');
      if (status === 405) assert.equal(answer.headers.allow, 'GET, HEAD');
    });
  }

  test('an error to a HEAD has no body', async () => {
    const answer = await ask('/v2/app/manifests/nope', { method: 'HEAD' });

    assert.deepEqual([answer.status, answer.bodyBytes], [404, 0]);
  });

  test('a body where none belongs is refused', async () => {
    const answer = await ask('/v2/', {
      method: 'GET',
      headers: { 'content-length': 5 },
      body: 'hello',
    });

    assert.equal(answer.status, 400);
  });

  for (const path of ['/v2/', '/v2', '/ghcr.io/v2/', '/v2/?ns=ghcr.io']) {
    test(`the ping ${path} is 200 without a challenge`, async () => {
      const answer = await ask(path);

      assert.equal(answer.status, 200);
      assert.equal(answer.body.toString(), '{}');
      assert.equal(answer.headers['www-authenticate'], undefined);
      assert.equal(answer.headers['docker-distribution-api-version'], 'registry/2.0');
    });
  }

  for (const path of [
    '/v2/org/tool/manifests/v1?ns=ghcr.io',
    '/ghcr.io/v2/org/tool/manifests/v1',
    '/v2/ghcr.io/org/tool/manifests/v1',
    '/ghcr.io/v2/org/tool/manifests/v1?ns=ghcr.io',
  ]) {
    test(`${path} names ghcr.io`, async () => {
      const answer = await ask(path);

      assert.equal(answer.digest, image.manifest.digest);
      assert.equal(answer.headers['oci-namespace'], path.includes('ns=') ? 'ghcr.io' : undefined);
    });
  }

  for (const path of [
    '/v2/app/manifests/1',
    '/v2/library/app/manifests/1',
    '/v2/docker.io/app/manifests/1',
    '/v2/index.docker.io/library/app/manifests/1',
    '/registry-1.docker.io/v2/app/manifests/1',
    '/v2/library/app/manifests/1?ns=docker.io',
  ]) {
    test(`${path} is docker.io/library/app`, async () => {
      const answer = await ask(path);

      assert.equal(answer.digest, image.manifest.digest);
    });
  }

  test('a digest with an escaped colon is understood', async () => {
    const answer = await ask(`/v2/app/blobs/${blob.digest.replace(':', '%3A')}`);

    assert.equal(answer.digest, blob.digest);
  });

  const size = blob.bytes.length;
  const single: readonly (readonly [string, number, number])[] = [
    ['bytes=500-1499', 500, 1500],
    ['bytes=500-', 500, size],
    ['bytes=-500', size - 500, size],
    [`bytes=999000-2000000`, 999_000, size],
    [`bytes=-2000000`, 0, size],
    ['bytes=0-1', 0, 2],
  ];
  for (const [range, start, end] of single) {
    test(`Range: ${range} is answered with exactly that`, async () => {
      const answer = await ask(`/v2/app/blobs/${blob.digest}`, { headers: { range } });

      assert.equal(answer.status, 206);
      assert.equal(answer.headers['content-range'], `bytes ${start}-${end - 1}/${size}`);
      assert.equal(answer.headers['content-length'], String(end - start));
      assert.ok(answer.body.equals(blob.bytes.subarray(start, end)));
    });
  }

  for (const range of ['bytes=500-0', 'bytes=1000000-', 'bytes=5000000-6000000', 'bytes=-0']) {
    test(`Range: ${range} is 416 with the size`, async () => {
      const answer = await ask(`/v2/app/blobs/${blob.digest}`, { headers: { range } });

      // What is malformed may be refused as such; what lies outside may not.
      assert.equal(answer.status, range === 'bytes=500-0' ? answer.status : 416);
      assert.ok(answer.status === 416 || answer.status === 400);
      if (answer.status === 416) assert.equal(answer.headers['content-range'], `bytes */${size}`);
    });
  }

  test('1,024 ranges come back in order as parts; 1,025 are 400', async () => {
    const starts = Array.from({ length: 1025 }, (_, at) => (1024 - at) * 900);
    const rangeOf = (count: number): string =>
      `bytes=${starts
        .slice(0, count)
        .map((start) => `${start}-${start + 9}`)
        .join(',')}`;

    const many = await ask(`/v2/app/blobs/${blob.digest}`, { headers: { range: rangeOf(1024) } });
    const more = await ask(`/v2/app/blobs/${blob.digest}`, { headers: { range: rangeOf(1025) } });

    assert.equal(many.status, 206);
    const boundary = /^multipart\/byteranges; boundary=([0-9a-f]+)$/.exec(
      many.headers['content-type'] ?? '',
    )?.[1];
    const parts = many.body.toString('latin1').split(`--${boundary}`).slice(1, -1);
    assert.equal(parts.length, 1024);
    for (const [at, part] of parts.entries()) {
      const start = starts[at]!;
      const [head, content] = [
        part.slice(0, part.indexOf('\r\n\r\n')),
        part.slice(part.indexOf('\r\n\r\n') + 4, -2),
      ];
      assert.match(head, new RegExp(`Content-Range: bytes ${start}-${start + 9}/${size}`));
      assert.equal(content, blob.bytes.subarray(start, start + 10).toString('latin1'));
    }
    assert.ok(many.complete);
    assert.equal(more.status, 400);
  });

  test('overlapping ranges that amplify are refused', async () => {
    const range = `bytes=${Array.from({ length: 100 }, () => '0-').join(',')}`;

    const answer = await ask(`/v2/app/blobs/${blob.digest}`, { headers: { range } });

    assert.equal(answer.status, 400);
  });

  test('a manifest answers ranges, too', async () => {
    const answer = await ask('/v2/app/manifests/1', { headers: { range: 'bytes=0-' } });

    assert.equal(answer.status, 206);
    assert.equal(answer.digest, image.manifest.digest);
  });

  test('If-Range with another ETag sends the whole', async () => {
    const url = `/v2/app/blobs/${blob.digest}`;

    const other = await ask(url, { headers: { range: 'bytes=0-9', 'if-range': '"sha256:other"' } });
    const same = await ask(url, {
      headers: { range: 'bytes=0-9', 'if-range': `"${blob.digest}"` },
    });

    assert.deepEqual([other.status, other.bodyBytes], [200, size]);
    assert.deepEqual([same.status, same.bodyBytes], [206, 10]);
  });

  test('If-None-Match with the digest is 304; without the header never', async () => {
    const match = { headers: { 'if-none-match': `"${blob.digest}"` } };

    const blobAgain = await ask(`/v2/app/blobs/${blob.digest}`, match);
    const manifestAgain = await ask('/v2/app/manifests/1', {
      headers: { 'if-none-match': `"${image.manifest.digest}"` },
    });
    const changed = await ask('/v2/app/manifests/1', {
      headers: { 'if-none-match': '"sha256:old"' },
    });

    assert.deepEqual([blobAgain.status, blobAgain.bodyBytes], [304, 0]);
    assert.equal(manifestAgain.status, 304);
    assert.equal(changed.status, 200);
  });

  test('a HEAD with If-None-Match is answered as a GET would be', async () => {
    const paths = { '/v2/app/manifests/1': image.manifest, [`/v2/app/blobs/${blob.digest}`]: blob };
    for (const [path, { digest, bytes }] of Object.entries(paths)) {
      const ofThis = { method: 'HEAD', headers: { 'if-none-match': `"other", W/"${digest}"` } };
      const ofOther = { method: 'HEAD', headers: { 'if-none-match': '"other"' } };

      const same = await ask(path, ofThis);
      const changed = await ask(path, ofOther);

      assert.equal(same.status, 304);
      assert.equal(same.headers['docker-content-digest'], digest);
      assert.equal(changed.status, 200);
      assert.equal(changed.headers['content-length'], String(bytes.length));
    }
  });

  test('HEAD of a blob that is not cached answers from upstream without a download', async () => {
    const cold = makeBlob('head only', 123_456);
    upstream.addBlob('library/app', cold);

    const answer = await ask(`/v2/app/blobs/${cold.digest}`, { method: 'HEAD' });

    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-length'], '123456');
    assert.equal(answer.headers['docker-content-digest'], cold.digest);
    assert.equal(upstream.bytesSent(cold.digest), 0);
  });

  test('HEAD of a blob answers although upstream refuses HEAD, as ECR Public does', async () => {
    const cold = makeBlob('head refused', 654_321);
    upstream.addBlob('library/app', cold);
    upstream.script({ when: { method: 'HEAD', reference: cold.digest }, do: { status: 405 } });

    const answer = await ask(`/v2/app/blobs/${cold.digest}`, { method: 'HEAD' });

    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-length'], '654321');
    assert.ok(upstream.bytesSent(cold.digest) <= 1);
  });

  test('tags are paged with links that lead back here', async () => {
    const first = await ask('/docker.io/v2/library/app/tags/list?n=2&ns=docker.io');
    const link = /^<([^>]+)>; rel="next"$/.exec(String(first.headers['link']))?.[1] ?? '';
    const second = await ask(link);
    const none = await ask('/v2/app/tags/list?n=0');
    const rest = await ask('/v2/app/tags/list?last=2');

    const tagsOf = (answer: typeof first): unknown => JSON.parse(answer.body.toString());
    assert.deepEqual(tagsOf(first), { name: 'library/app', tags: ['1', '10'] });
    assert.ok(link.startsWith('/docker.io/v2/library/app/tags/list?'));
    assert.deepEqual(tagsOf(second), { name: 'library/app', tags: ['2', '3'] });
    assert.deepEqual(tagsOf(none), { name: 'library/app', tags: [] });
    assert.equal(none.headers['link'], undefined);
    assert.deepEqual(tagsOf(rest), { name: 'library/app', tags: ['3', 'latest'] });
  });

  test('referrers come from the API, filtered here, and are an empty index for what nothing refers to', async () => {
    const signature: Image = makeImage({
      seed: 'signature',
      layers: [100],
      artifactType: 'application/vnd.example.signature',
      subject: {
        mediaType: image.manifest.mediaType,
        digest: image.manifest.digest,
        size: image.manifest.bytes.length,
      },
    });
    upstream.add('library/app', signature);
    const url = `/v2/app/referrers/${image.manifest.digest}`;

    const all = await ask(url);
    const filtered = await ask(`${url}?artifactType=application/vnd.example.other`);
    const either = await ask(
      `${url}?artifactType=application/vnd.example.other&artifactType=application/vnd.example.signature`,
    );
    const unfiltered = await ask(`${url}?artifactType=`);
    const nothing = await ask(`/v2/app/referrers/${absent}`);

    const manifestsOf = (answer: typeof all): { digest: string }[] =>
      (JSON.parse(answer.body.toString()) as { manifests: { digest: string }[] }).manifests;
    assert.equal(all.headers['content-type'], 'application/vnd.oci.image.index.v1+json');
    assert.deepEqual(
      manifestsOf(all).map(({ digest }) => digest),
      [signature.manifest.digest],
    );
    assert.deepEqual(manifestsOf(filtered), []);
    assert.equal(filtered.headers['oci-filters-applied'], 'artifactType');
    assert.deepEqual(manifestsOf(either), manifestsOf(all));
    assert.equal(either.headers['oci-filters-applied'], 'artifactType');
    assert.deepEqual(manifestsOf(unfiltered), manifestsOf(all));
    assert.equal(unfiltered.headers['oci-filters-applied'], undefined);
    assert.equal(nothing.status, 200);
    assert.deepEqual(manifestsOf(nothing), []);
  });

  test('the catalog lists what is cached under names that can be pulled', async () => {
    await ask('/v2/app/manifests/1');
    await ask('/v2/org/tool/manifests/v1?ns=ghcr.io');

    const all = await ask('/v2/_catalog');
    const one = await ask('/v2/_catalog?ns=ghcr.io');

    assert.deepEqual(JSON.parse(all.body.toString()), {
      repositories: ['docker.io/library/app', 'ghcr.io/org/tool'],
    });
    assert.deepEqual(JSON.parse(one.body.toString()), { repositories: ['org/tool'] });
  });
});

test('referrers fall back to the tag schema where upstream has no API', async () => {
  await using upstream = await startScriptedRegistry({ referrers: false });
  await using mirror = await startMirror({ upstream });
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ mediaType: image.manifest.mediaType, digest: absent, size: 7 }],
    }),
  );
  const piece = {
    bytes: index,
    digest: sha256(index),
    mediaType: 'application/vnd.oci.image.index.v1+json',
  };
  upstream.addManifest('library/app', piece, image.manifest.digest.replace(':', '-'));

  const answer = await get(`${mirror.url}/v2/app/referrers/${image.manifest.digest}`);

  const { manifests } = JSON.parse(answer.body.toString()) as { manifests: { digest: string }[] };
  assert.deepEqual(
    manifests.map(({ digest }) => digest),
    [absent],
  );
});

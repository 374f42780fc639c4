import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mediaTypes } from '../../src/oci/manifest.ts';
import { get, type Answer } from '../kit/clients.ts';
import type { Rule } from '../kit/faults.ts';
import { descriptorOf, makeImage, pieceOf, type Piece } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'referred to', layers: [100] });
const subject = descriptorOf(image.manifest);
const signature = makeImage({ seed: 'signature', layers: [100], subject }).manifest;
const path = `/v2/library/app/referrers/${subject.digest}`;

const asked = { kind: 'referrers' } as const;

function indexOf(...pieces: Piece[]): Piece {
  const manifests = pieces.map(descriptorOf);
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  return pieceOf(Buffer.from(JSON.stringify(index)), mediaTypes.ociIndex);
}

/** By the tag schema, for registries without the API. */
function addByTag(registry: ScriptedRegistry, ...pieces: Piece[]): void {
  registry.addManifest('library/app', indexOf(...pieces), subject.digest.replace(':', '-'));
}

function digestsIn(answer: Answer): string[] {
  assert.equal(answer.status, 200, answer.body.toString().slice(0, 300));
  assert.equal(answer.headers['content-type'], mediaTypes.ociIndex);
  const { manifests } = JSON.parse(answer.body.toString()) as { manifests: { digest: string }[] };
  return manifests.map(({ digest }) => digest);
}

const page = (body: string | Buffer, link?: string): Rule['do'] => ({
  status: 200,
  headers: { 'content-type': mediaTypes.ociIndex, ...(link === undefined ? {} : { link }) },
  body,
});

for (const status of [400, 401, 403, 404, 410, 429, 500, 200]) {
  test(`a redirect to a site that answers ${status} is no API: the tag schema is, or nothing`, async () => {
    await using site = await startScriptedRegistry({
      rules: [{ do: { status, headers: { 'content-type': 'text/html' }, body: '<html>' } }],
    });
    await using upstream = await startScriptedRegistry({
      rules: [{ when: asked, do: { status: 303, redirectTo: `${site.url}/-/v2/packages` } }],
    });
    await using mirror = await startMirror({
      upstream,
      settings: { redirectHosts: [site.host], tagTtl: '0', negativeTtl: '0' },
    });
    upstream.add('library/app', image, '1');

    const nothing = await get(mirror.url + path);
    addByTag(upstream, signature);
    const found = await get(mirror.url + path);

    assert.deepEqual(digestsIn(nothing), []);
    assert.deepEqual(digestsIn(found), [signature.digest]);
  });
}

for (const [what, fault] of [
  ['no JSON', page('<html>')],
  ['no index', page('{"manifests":"none"}')],
  ['another type', { ...page('{"manifests":[]}'), headers: { 'content-type': 'text/html' } }],
] as const) {
  test(`where the API answers ${what}, the tag schema is asked`, async () => {
    await using upstream = await startScriptedRegistry({ rules: [{ when: asked, do: fault }] });
    await using mirror = await startMirror({ upstream });
    addByTag(upstream, signature);

    const answer = await get(mirror.url + path);

    assert.deepEqual(digestsIn(answer), [signature.digest]);
    assert.equal(answer.headers['warning'], undefined);
  });
}

test('while upstream limits its referrers the tag schema answers, or an empty index, with a warning', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: asked, do: { status: 429 } }],
  });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0', negativeTtl: '0' } });
  upstream.add('library/app', image, '1');

  const nothing = await get(mirror.url + path);
  addByTag(upstream, signature);
  const found = await get(mirror.url + path);

  assert.deepEqual(digestsIn(nothing), []);
  assert.deepEqual(digestsIn(found), [signature.digest]);
  for (const answer of [nothing, found]) {
    assert.match(String(answer.headers['warning']), /incomplete: .*429/);
  }
  assert.equal(upstream.count(asked), 1);
});

test('while upstream limits everything an empty index is answered, or the last known one', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  const other = `/v2/library/app/referrers/${signature.digest}`;
  upstream.addManifest('library/app', signature);
  const before = await get(mirror.url + path);
  upstream.script({ do: { status: 429 } });

  const stale = await get(mirror.url + path);
  const nothing = await get(mirror.url + other);

  assert.deepEqual(digestsIn(stale), digestsIn(before));
  assert.equal(stale.headers['x-cache'], 'STALE');
  assert.deepEqual(digestsIn(nothing), []);
  assert.match(String(nothing.headers['warning']), /incomplete/);
});

test('a repository that upstream does not show us has no referrers for anybody either', async () => {
  await using upstream = await startScriptedRegistry({ rules: [{ do: { status: 403 } }] });
  await using mirror = await startMirror({ upstream });

  const answer = await get(mirror.url + path);

  assert.equal(answer.status, 403);
});

test('referrers in pages are one index; of those before a page that is gone nothing is lost', async () => {
  const others = ['a', 'b'].map((seed) => makeImage({ seed, layers: [10], subject }).manifest);
  const first: Rule = {
    when: asked,
    times: 1,
    do: page(indexOf(signature).bytes, '<?page=2>; rel="next"'),
  };
  await using upstream = await startScriptedRegistry({
    rules: [first, { when: asked, times: 1, do: page(indexOf(signature, ...others).bytes) }],
  });
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });

  const all = await get(mirror.url + path);
  upstream.script(first, { when: asked, do: { status: 404 } });
  const part = await get(mirror.url + path);

  assert.deepEqual(
    digestsIn(all),
    [signature, ...others].map(({ digest }) => digest),
  );
  assert.equal(all.headers['warning'], undefined);
  assert.deepEqual(digestsIn(part), [signature.digest]);
  assert.match(String(part.headers['warning']), /incomplete: page 2 of it cannot be had/);
});

test('all pages of referrers together are bounded, and the warning says so', async () => {
  const padding = ' '.repeat(1_500_000);
  const rules = ['1', '2', '3', '4'].map((at): Rule => {
    const one = indexOf(makeImage({ seed: at, layers: [10], subject }).manifest).bytes;
    return {
      when: asked,
      times: 1,
      do: page(`${one.toString()}${padding}`, `<?page=${at}>; rel="next"`),
    };
  });
  await using upstream = await startScriptedRegistry({ rules });
  await using mirror = await startMirror({ upstream });

  const answer = await get(mirror.url + path);

  assert.equal(digestsIn(answer).length, 2);
  assert.match(String(answer.headers['warning']), /page 3 of it cannot be had: .* more than/);
  assert.equal(upstream.count(asked), 3);
});

test('that nothing refers to an image is known in an outage, of what is here', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  const image = makeImage({ seed: 'nothing refers to it', layers: [10] });
  upstream.add('library/app', image, '1');
  const here = image.manifest.digest;
  const elsewhere = makeImage({ seed: 'never pulled', layers: [10] }).manifest.digest;
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  for (const digest of [here, elsewhere]) {
    assert.equal((await get(`${mirror.url}/v2/library/app/referrers/${digest}`)).status, 200);
  }
  await mirror.restart();
  await upstream.stop();

  const known = await get(`${mirror.url}/v2/library/app/referrers/${here}`);
  const unknown = await get(`${mirror.url}/v2/library/app/referrers/${elsewhere}`);

  assert.deepEqual([known.status, known.headers['x-cache']], [200, 'STALE']);
  assert.equal(unknown.status, 503);
});

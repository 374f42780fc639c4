import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rolledBack } from '../../src/api/care.ts';
import { get } from '../kit/clients.ts';
import { makeImage, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

const [good, bad, next] = ['good', 'bad', 'next'].map((seed) =>
  makeImage({ seed, layers: [1000] }),
) as [Image, Image, Image];

const path = '/v2/library/app/manifests/1';

/** The digest that the tag names now. */
async function rollBack(mirror: TestMirror): Promise<string> {
  const answer = await fetch(`${mirror.adminUrl}/api/v1/cache/rollback`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ reference: 'app:1' }),
  });
  return rolledBack.parse(await answer.json()).digest;
}

for (const dropHeaders of [[], ['docker-content-digest']]) {
  const says = dropHeaders.length === 0 ? 'says' : 'does not say';

  test(`a tag that is rolled back stays so until it moves, where upstream ${says} its digest`, async () => {
    await using upstream = await startScriptedRegistry({ rules: [{ do: { dropHeaders } }] });
    await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
    for (const image of [good, bad]) {
      upstream.add('library/app', image, '1');
      await get(mirror.url + path);
    }

    const digest = await rollBack(mirror);
    const after = [await get(mirror.url + path), await get(mirror.url + path)];
    upstream.add('library/app', next, '1');
    const later = await get(mirror.url + path);

    assert.equal(digest, good.manifest.digest);
    assert.deepEqual(
      after.map((answer) => answer.digest),
      [digest, digest],
    );
    assert.equal(later.digest, next.manifest.digest);
  });
}

test('a tag that is rolled back while upstream is asked for it stays so', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0' } });
  for (const image of [good, bad]) {
    upstream.add('library/app', image, '1');
    await get(mirror.url + path);
  }
  const answered = Promise.withResolvers<void>();
  const isHead = { method: 'HEAD' };
  const asked = upstream.count(isHead);
  upstream.script({ when: isHead, times: 1, do: { holdUntil: answered.promise } });

  const asking = get(mirror.url + path);
  await upstream.arrived(isHead, asked + 1);
  const digest = await rollBack(mirror);
  answered.resolve();
  await asking;
  const after = await get(mirror.url + path);

  assert.equal(digest, good.manifest.digest);
  assert.equal(after.digest, digest);
});

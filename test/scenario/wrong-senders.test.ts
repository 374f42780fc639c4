import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Rule } from '../kit/faults.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

/** Where several have what is asked for, one that sends it wrong takes it from nobody. */

const flip: Rule = { do: { flipByteAt: 10 } };
const image = makeImage({ seed: 'two urls', layers: [300_000] });

describe('an upstream of two URLs, the first of which sends wrong bytes', () => {
  test('is asked at the second from then on for what was wrong', async () => {
    await using wrongOne = await startScriptedRegistry({
      rules: [{ when: { kind: 'blob', reference: image.layers[0]!.digest }, ...flip }],
    });
    await using upstream = await startScriptedRegistry();
    for (const registry of [wrongOne, upstream]) registry.add('library/app', image, '1');
    const settings = { urls: [wrongOne.url, upstream.url], readAhead: false };
    await using mirror = await startMirror({ upstream, settings });
    const url = `${mirror.url}/v2/library/app/blobs`;

    const cut = await get(`${url}/${image.layers[0]!.digest}`);
    await mirror.observed('fill-failed');
    const right = await get(`${url}/${image.layers[0]!.digest}`);
    const other = await get(`${url}/${image.config.digest}`);

    assert.equal(cut.complete, false);
    assert.equal(right.digest, image.layers[0]!.digest);
    assert.equal(wrongOne.count({ reference: image.layers[0]!.digest }), 1);
    // What was right there is asked for there.
    assert.equal(other.digest, image.config.digest);
    assert.equal(wrongOne.count({ reference: image.config.digest }), 1);
  });

  test('is asked at the second at once for a manifest', async () => {
    await using wrongOne = await startScriptedRegistry({
      rules: [{ when: { kind: 'manifest' }, ...flip }],
    });
    await using upstream = await startScriptedRegistry();
    for (const registry of [wrongOne, upstream]) registry.add('library/app', image, '1');
    const settings = { urls: [wrongOne.url, upstream.url] };
    await using mirror = await startMirror({ upstream, settings });

    for (const reference of ['1', image.manifest.digest]) {
      const answer = await get(`${mirror.url}/v2/library/app/manifests/${reference}`);

      assert.equal(answer.digest, image.manifest.digest, reference);
    }
  });

  const wrongPieces: Rule[] = [
    { when: { kind: 'manifest', method: 'GET' }, ...flip },
    { when: { kind: 'blob' }, ...flip },
  ];

  test('or a primary, is not asked again for what was wrong: upstream is', async () => {
    await using primary = await startScriptedRegistry({ rules: wrongPieces });
    await using upstream = await startScriptedRegistry();
    for (const registry of [primary, upstream]) registry.add('library/app', image, '1');

    await pullThroughWrong(primary, upstream);
  });

  test('or a primary, is asked again for what was wrong where nobody else has it', async () => {
    const rules = wrongPieces.map((rule) => Object.assign({ times: 1 }, rule));
    await using primary = await startScriptedRegistry({ rules });
    await using upstream = await startScriptedRegistry();
    primary.add('library/app', image, '1');

    await pullThroughWrong(primary, upstream);

    assert.ok(upstream.count({ kind: 'blob' }) > 0, 'upstream is asked first for it');
  });

  test('or a primary, is asked as before for the same tag of other repositories', async () => {
    await using primary = await startScriptedRegistry({
      rules: [{ when: { kind: 'manifest', repository: 'library/app' }, ...flip }],
    });
    await using upstream = await startScriptedRegistry();
    for (const name of ['library/app', 'library/other']) {
      for (const registry of [primary, upstream]) registry.add(name, image, 'latest');
    }
    await using mirror = await startMirror({
      upstream,
      settings: { readAhead: false },
      config: { site: { name: 'here', primary: { url: primary.url }, sync: [] } },
    });

    await get(`${mirror.url}/v2/library/app/manifests/latest`);
    const { digest } = await get(`${mirror.url}/v2/library/other/manifests/latest`);

    assert.equal(digest, image.manifest.digest);
    assert.equal(upstream.count({ repository: 'library/other' }), 0);
  });
});

type Asked = 'the first of two URLs' | 'a primary';

/** With one more who is asked before upstream. */
function startBehind(
  asked: Asked,
  first: ScriptedRegistry,
  upstream: ScriptedRegistry,
): Promise<TestMirror> {
  const urls = asked === 'a primary' ? [upstream.url] : [first.url, upstream.url];
  const site = { name: 'here', primary: { url: first.url }, sync: [] };
  return startMirror({
    upstream,
    settings: { urls, readAhead: false },
    config: asked === 'a primary' ? { site } : {},
  });
}

for (const asked of ['the first of two URLs', 'a primary'] as const) {
  const image = makeImage({ seed: 'several', layers: [100_000] });
  const { digest } = image.layers[0]!;
  const wrongAnswers: [what: string, answer: Rule['do']][] = [
    ['another size', { status: 200, body: 'wrong' }],
    [
      'a web page',
      { status: 200, body: '<h1>soon</h1>', headers: { 'content-type': 'text/html' } },
    ],
  ];

  for (const [what, answer] of wrongAnswers) {
    test(`${asked} that answers with ${what} for a blob is not seen by any client`, async () => {
      await using wrong = await startScriptedRegistry({
        rules: [{ when: { kind: 'blob' }, do: answer }],
      });
      await using upstream = await startScriptedRegistry();
      for (const registry of [wrong, upstream]) registry.add('library/app', image, '1');
      await using mirror = await startBehind(asked, wrong, upstream);
      await get(`${mirror.url}/v2/library/app/manifests/1`);

      const blob = await get(`${mirror.url}/v2/library/app/blobs/${digest}`);

      assert.equal(blob.digest, digest);
    });
  }

  test(`${asked} that says another size takes the blob from nobody, though it was alone for a while`, async () => {
    const other = { status: 200, body: Buffer.alloc(5_000) };
    await using wrong = await startScriptedRegistry({
      rules: [{ when: { kind: 'blob' }, do: other }],
    });
    await using upstream = await startScriptedRegistry();
    for (const registry of [wrong, upstream]) registry.add('library/app', image, '1');
    await using mirror = await startBehind(asked, wrong, upstream);
    await get(`${mirror.url}/v2/library/app/manifests/1`);
    const url = `${mirror.url}/v2/library/app/blobs/${digest}`;

    await upstream.stop();
    const alone = await get(url);
    await upstream.restart();
    const right = await until('upstream to be asked', async () => {
      const answer = await get(url);
      return answer.digest === digest ? answer : undefined;
    });

    assert.notEqual(alone.digest, digest);
    assert.equal(right.status, 200);
  });
}

for (const asked of ['the first of two URLs', 'a primary'] as const) {
  test(`${asked} that is wrong again is asked last, though another was suspected with it`, async () => {
    const image = makeImage({ seed: 'both', layers: [300_000] });
    const { digest } = image.layers[0]!;
    const when = { kind: 'blob', reference: digest } as const;
    await using wrong = await startScriptedRegistry({
      rules: [
        {
          when,
          times: 1,
          do: { flipByteAt: 10, resetAfterBytes: 200_000, rateBytesPerSecond: 2e6 },
        },
        { when, times: 1, do: { hangUp: true } },
        { when, do: { flipByteAt: 10 } },
      ],
    });
    await using upstream = await startScriptedRegistry();
    for (const registry of [wrong, upstream]) registry.add('library/app', image, '1');
    await using mirror = await startBehind(asked, wrong, upstream);
    await get(`${mirror.url}/v2/library/app/manifests/1`);

    const answers = [];
    for (let times = 1; times <= 3; times += 1) {
      answers.push(await get(`${mirror.url}/v2/library/app/blobs/${digest}`));
      const cut = answers.filter(({ complete }) => !complete).length;
      await until('the end of it', () => mirror.observedOf('fill-failed').length === cut);
    }

    assert.ok(upstream.bytesSent(digest) > 0);
    assert.equal(answers[0]?.complete, false);
    assert.equal(answers.at(-1)?.digest, digest);
  });
}

test('the first of two URLs that answers with a web page for a manifest is not seen by any client', async () => {
  const image = makeImage({ seed: 'page', layers: [1_000] });
  const page = { status: 200, body: '<h1>soon</h1>', headers: { 'content-type': 'text/html' } };
  await using wrong = await startScriptedRegistry({ rules: [{ do: page }] });
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startBehind('the first of two URLs', wrong, upstream);

  const manifest = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const list = await get(`${mirror.url}/v2/library/app/tags/list`);

  assert.equal(manifest.digest, image.manifest.digest);
  assert.equal(list.status, 200);
});

/** Manifest, and layer twice: the first time it is cut. */
async function pullThroughWrong(
  primary: ScriptedRegistry,
  upstream: ScriptedRegistry,
): Promise<void> {
  await using mirror = await startMirror({
    upstream,
    settings: { readAhead: false },
    config: { site: { name: 'here', primary: { url: primary.url }, sync: [] } },
  });
  const url = `${mirror.url}/v2/library/app`;

  const manifest = await get(`${url}/manifests/1`);
  const cut = await get(`${url}/blobs/${image.layers[0]!.digest}`);
  await mirror.observed('fill-failed');
  const right = await get(`${url}/blobs/${image.layers[0]!.digest}`);

  assert.equal(manifest.digest, image.manifest.digest);
  assert.equal(cut.complete, false);
  assert.equal(right.digest, image.layers[0]!.digest);
}

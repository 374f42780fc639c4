import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import type { Fault, Rule } from '../kit/faults.ts';
import { makeBlob } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const blob = makeBlob('wrong ranges', 400_000);
const size = blob.bytes.length;
const path = `/v2/library/app/blobs/${blob.digest}`;

/** It breaks off when something of it has been taken. */
function cutWhen(until: Promise<void>): Rule {
  const fault = { stall: { afterBytes: 100_000, until }, truncateAfterBytes: 200_000 };
  return { when: { kind: 'blob', ranged: false }, times: 1, do: fault };
}

/** The blob through a mirror, whose upstream breaks off and then does this. */
async function getCut(
  upstream: ScriptedRegistry,
  mirror: TestMirror,
  rule: Rule,
): ReturnType<typeof get> {
  const taken = Promise.withResolvers<void>();
  upstream.script(cutWhen(taken.promise), rule);
  upstream.addBlob('library/app', blob);
  const answer = get(mirror.url + path);
  await until('bytes to arrive', () => (mirror.app.mirror.fills[0]?.doneBytes ?? 0) > 0);
  taken.resolve();
  return answer;
}

/** What upstream answers to the range that goes on after a cut. */
const wrong: [name: string, fault: Fault][] = [
  ['206 without a Content-Range', { dropHeaders: ['content-range'] }],
  ['206 of another start', { headers: { 'content-range': `bytes 0-${size - 1}/${size}` } }],
  ['206 with a Content-Range that cannot be read', { headers: { 'content-range': 'bytes=7' } }],
  ['416', { status: 416 }],
];

for (const [name, fault] of wrong) {
  test(`upstream that breaks off and answers ${name}: the whole is asked for, and the rest taken`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });

    const answer = await getCut(upstream, mirror, {
      when: { kind: 'blob', ranged: true },
      do: fault,
    });

    assert.equal(answer.digest, blob.digest);
    assert.deepEqual(
      upstream.requests.map(({ range }) => range !== undefined),
      [false, true, false],
    );
  });
}

test('206 of the whole is an answer to a GET of the whole', async () => {
  const headers = { 'content-range': `bytes 0-${size - 1}/${size}` };
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { status: 206, headers, body: blob.bytes } }],
  });
  await using mirror = await startMirror({ upstream });

  const answer = await get(mirror.url + path);

  assert.equal(answer.digest, blob.digest);
  assert.equal(upstream.count(), 1);
});

test('upstream that has neither the part nor the whole is asked for the whole once', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });

  const answer = await getCut(upstream, mirror, { when: { kind: 'blob' }, do: { status: 416 } });

  assert.equal(answer.complete, false);
  assert.equal(upstream.count(), 3);
});

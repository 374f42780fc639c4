import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { expiredCertificate, foreignCertificate, goodCertificate } from '../kit/certificates.ts';
import { get } from '../kit/clients.ts';
import type { Fault } from '../kit/faults.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { startTlsFront, type TlsFront } from '../kit/tls-front.ts';
import { until } from '../kit/wait-for.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const image = makeImage({ seed: 'outage', layers: [20_000] });

/**
 * The promise is 50 ms, and the middle of many answers is held to it; a single one may lose some time to
 * a busy test machine, but never as much as the shortest wait for upstream, which is 200 ms.
 */
const atOnceMs = 150;

/** A mirror that holds the image under the tag `1`, which it has to ask about at each request. */
async function startFilledMirror(
  upstream: ScriptedRegistry,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<TestMirror> {
  const mirror = await startMirror({ upstream, settings: { tagTtl: '0', ...settings } });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  for (const { digest } of [image.config, ...image.layers]) {
    await mirror.observed('fill-committed', (event) => event.digest === digest);
  }
  return mirror;
}

const limited = { status: 429, headers: { 'retry-after': '60' } };

const outages: [name: string, fault: Fault | 'stop', probesMax: number][] = [
  // Five failures in a row open the circuit; then one probe after each growing cool-down.
  // The HEAD learns of it; afterwards nothing is asked.
  ['answers 429 with Retry-After: 60', limited, 1],
  ['answers 429', { status: 429 }, 1],
  ['answers 500', { status: 500 }, 5 + 3],
  ['answers 500 after a second', { status: 500, delayMs: 1_100 }, 1 + 2],
  ['hangs', { holdUntil: new Promise(() => {}) }, 1 + 1],
  ['breaks connections', { hangUp: true }, 5 + 3],
  ['is down', 'stop', 0],
];

for (const [name, fault, probesMax] of outages) {
  test(`upstream ${name}: the copy comes each time, the first within 3 s, the others at once`, async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startFilledMirror(upstream);
    const asked = upstream.count();
    if (fault === 'stop') await upstream.stop();
    else upstream.script({ do: fault });

    const first = await get(`${mirror.url}/v2/library/app/manifests/1`);
    const others = [];
    for (let times = 0; times < 50; times += 1) {
      others.push(await get(`${mirror.url}/v2/library/app/manifests/1`));
    }

    for (const answer of [first, ...others]) {
      assert.equal(answer.status, 200);
      assert.equal(answer.digest, image.manifest.digest);
      assert.equal(answer.headers['x-cache'], 'STALE');
      assert.match(String(answer.headers['warning']), /^299 - ".*served from the cache/);
    }
    assert.ok(first.totalMs < 3_000, `first ${first.totalMs} ms`);
    const [second = NaN] = others.map(({ totalMs }) => totalMs);
    const sorted = others.map(({ totalMs }) => totalMs).sort((a, b) => a - b);
    assert.ok(second < atOnceMs, `second ${second} ms`);
    assert.ok(sorted[25]! < 50, `half of the others ${sorted[25]} ms`);
    const probes = upstream.count() - asked;
    assert.ok(probes <= probesMax, `${probes} requests reached upstream`);
  });
}

test('a limit of pulls leaves HEADs: a cached tag is confirmed, what is not cached is refused at once', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFilledMirror(upstream);
  upstream.script({ when: { kind: 'manifest', method: 'GET' }, do: limited });
  const uncached = `${mirror.url}/v2/library/other/manifests/1`;

  const refused = [await get(uncached), await get(uncached)];
  const cached = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const blob = await get(`${mirror.url}/v2/library/app/blobs/${makeBlob('none', 5).digest}`);

  for (const { status, headers, body } of refused) {
    assert.equal(status, 503);
    assert.ok(Number(headers['retry-after']) >= 59, String(headers['retry-after']));
    assert.match(body.toString(), /TOOMANYREQUESTS.*limit/);
  }
  assert.equal(upstream.count({ repository: 'library/other' }), 1);
  assert.equal(cached.headers['x-cache'], 'REVALIDATED');
  assert.equal(blob.status, 404);
  const [event] = mirror.observedOf('upstream-limited');
  assert.equal(event?.scope, 'pulls');
});

test('after the pause that upstream asked for one request probes, and all goes on', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFilledMirror(upstream);
  const url = `${mirror.url}/v2/library/app/manifests/1`;
  upstream.script({ times: 1, do: { status: 429, headers: { 'retry-after': '1' } } });

  const during = await get(url);
  const after = await until('the end of the pause', async () => {
    const answer = await get(url);
    return answer.headers['x-cache'] === 'REVALIDATED' ? answer : undefined;
  });

  assert.equal(during.headers['x-cache'], 'STALE');
  assert.equal(after.digest, image.manifest.digest);
});

test('a limit of pulls that follows one of all is over with its pause, too', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFilledMirror(upstream);
  upstream.add('library/other', image, '1');
  const known = `${mirror.url}/v2/library/app/manifests/1`;
  const other = `${mirror.url}/v2/library/other/manifests/1`;
  const briefly = { status: 429, headers: { 'retry-after': '1' } };
  upstream.script(
    { when: { method: 'HEAD' }, times: 1, do: briefly },
    { when: { method: 'GET' }, times: 1, do: briefly },
  );

  await get(known);
  await until('the second limit', async () => {
    await get(other);
    return mirror.observedOf('upstream-limited').length === 2;
  });
  const after = await until('the end of both', async () => {
    const answer = await get(other);
    return answer.status === 200 ? answer : undefined;
  });

  assert.deepEqual(
    mirror.observedOf('upstream-limited').map(({ scope }) => scope),
    ['all', 'pulls'],
  );
  assert.equal(after.digest, image.manifest.digest);
});

test('one URL of two that limits us is left alone, and the other is asked', async () => {
  await using limiting = await startScriptedRegistry({ rules: [{ do: limited }] });
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  const settings = { urls: [limiting.url, upstream.url], tagTtl: '0' };
  await using mirror = await startMirror({ upstream, settings });
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const answers = [await get(url), await get(url), await get(url)];

  assert.deepEqual(
    answers.map(({ headers }) => headers['x-cache']),
    ['MISS', 'REVALIDATED', 'REVALIDATED'],
  );
  // A GET and a HEAD, which may be limited apart.
  assert.equal(limiting.count({ kind: 'manifest' }), 2);
});

test('a token server that limits us: the copy comes, and the token server is left alone', async () => {
  await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
  await using mirror = await startFilledMirror(upstream);
  upstream.revokeTokens();
  upstream.script({ when: { kind: 'token' }, do: limited });
  const tokens = upstream.count({ kind: 'token' });
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const answers = [await get(url), await get(url), await get(url)];

  assert.ok(answers.every(({ headers }) => headers['x-cache'] === 'STALE'));
  assert.equal(upstream.count({ kind: 'token' }) - tokens, 1);
});

test('a storm of 429 and 5xx in turn: stale every time, and few requests reach upstream', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFilledMirror(upstream);
  const asked = upstream.count();
  for (let turn = 0; turn < 100; turn += 1) {
    upstream.script({ times: 1, do: { status: 500 } }, { times: 1, do: limited });
  }

  const answers = [];
  for (let times = 0; times < 300; times += 1) {
    answers.push(await get(`${mirror.url}/v2/library/app/manifests/1`));
  }

  assert.ok(answers.every(({ status }) => status === 200));
  assert.ok(answers.every(({ headers }) => headers['x-cache'] === 'STALE'));
  assert.ok(upstream.count() - asked <= 4, `${upstream.count() - asked}`);
});

test('what is not cached fails at once while upstream is known to be down', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFilledMirror(upstream);
  const none = makeBlob('not cached', 5).digest;
  await upstream.stop();
  await get(`${mirror.url}/v2/library/app/blobs/${none}`);
  await get(`${mirror.url}/v2/library/app/blobs/${none}`);

  const blob = await get(`${mirror.url}/v2/library/app/blobs/${none}`);
  const manifest = await get(`${mirror.url}/v2/library/app/manifests/none`);

  assert.deepEqual([blob.status, manifest.status], [404, 503]);
  assert.ok(blob.totalMs < atOnceMs, `blob ${blob.totalMs} ms`);
  assert.ok(manifest.totalMs < atOnceMs, `manifest ${manifest.totalMs} ms`);
});

const handshakes: [name: string, spoil: (front: TlsFront) => Promise<void>][] = [
  ['shows a certificate that has ended', (front) => front.present(expiredCertificate)],
  ['shows the certificate of another', (front) => front.present(foreignCertificate)],
  ['says nothing to a handshake', (front) => front.fallSilent()],
];

for (const [name, spoil] of handshakes) {
  test(`upstream ${name}: the copy comes within 3 s, then at once`, async () => {
    await using folder = await temporaryFolder();
    const ca = join(folder.path, 'ca.pem');
    await writeFile(ca, [goodCertificate, expiredCertificate, foreignCertificate].join('\n'));
    await using upstream = await startScriptedRegistry();
    await using front = await startTlsFront(upstream, goodCertificate);
    const settings = { urls: [front.url], tls: { ca } };
    await using mirror = await startFilledMirror(upstream, settings);
    await spoil(front);
    const before = front.connections;

    const answers = [];
    for (let times = 0; times < 20; times += 1) {
      answers.push(await get(`${mirror.url}/v2/library/app/manifests/1`));
    }

    assert.ok(answers.every(({ headers }) => headers['x-cache'] === 'STALE'));
    assert.ok(answers[0]!.totalMs < 3_000, `first ${answers[0]!.totalMs} ms`);
    assert.ok(answers[1]!.totalMs < atOnceMs, `second ${answers[1]!.totalMs} ms`);
    assert.ok(front.connections - before <= 8, `${front.connections - before} connections`);
  });
}

test('a tag that moves to what is gone when it is asked for: one consistent manifest', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startFilledMirror(upstream);
  const next = makeImage({ seed: 'next', layers: [100] });
  upstream.add('library/app', next, '1');
  upstream.script({
    when: { kind: 'manifest', method: 'GET', reference: next.manifest.digest },
    do: { status: 404 },
  });

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.headers['x-cache'], 'STALE');
  assert.equal(answer.digest, image.manifest.digest);
  assert.equal(answer.headers['docker-content-digest'], image.manifest.digest);
});

test('an upstream that is slow, and not down: the copy comes soon, and is confirmed at last', async () => {
  await using upstream = await startScriptedRegistry();
  const timeouts = { revalidate: '200ms' };
  await using mirror = await startFilledMirror(upstream, { tagTtl: '500ms', timeouts });
  await new Promise((resolve) => setTimeout(resolve, 600));
  upstream.script({ when: { method: 'HEAD' }, times: 1, do: { delayMs: 700 } });
  const url = `${mirror.url}/v2/library/app/manifests/1`;

  const slow = await get(url);
  const beside = await get(url);
  const uncached = await get(`${mirror.url}/v2/library/none/manifests/1`);
  const confirmed = await until('the late answer', async () => {
    const answer = await get(url);
    return answer.headers['x-cache'] === 'HIT' ? answer : undefined;
  });

  assert.deepEqual([slow.headers['x-cache'], beside.headers['x-cache']], ['STALE', 'STALE']);
  assert.ok(slow.totalMs < 600, `${slow.totalMs} ms`);
  assert.equal(uncached.status, 404);
  assert.equal(confirmed.digest, image.manifest.digest);
  assert.equal(upstream.count({ method: 'HEAD', reference: '1', repository: 'library/app' }), 1);
});

test('one tag that hangs holds up no other: those are confirmed as before', async () => {
  await using upstream = await startScriptedRegistry();
  const timeouts = { revalidate: '200ms' };
  await using mirror = await startFilledMirror(upstream, { timeouts });
  upstream.add('library/app', image, 'hung');
  const hung = `${mirror.url}/v2/library/app/manifests/hung`;
  await get(hung);
  upstream.script({ when: { reference: 'hung' }, do: { holdUntil: new Promise(() => {}) } });

  const late = await get(hung);
  const again = await get(hung);
  const other = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.deepEqual([late.headers['x-cache'], again.headers['x-cache']], ['STALE', 'STALE']);
  assert.ok(again.totalMs < atOnceMs, `${again.totalMs} ms`);
  assert.equal(other.status, 200);
  await until('the other tag to be asked for', () =>
    upstream.count({ reference: '1', method: 'HEAD' }),
  );
  assert.equal(upstream.count({ reference: 'hung', method: 'HEAD' }), 1);
});

test('a list of tags that hangs is the last known one', async () => {
  await using upstream = await startScriptedRegistry();
  const settings = { tagTtl: '0', timeouts: { revalidate: '1s' } };
  await using mirror = await startMirror({ upstream, settings });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/tags/list`;
  const before = await get(url);
  upstream.script({ do: { holdUntil: new Promise(() => {}) } });

  const first = await get(url);
  const second = await get(url);

  assert.deepEqual(first.body, before.body);
  assert.deepEqual([first.headers['x-cache'], second.headers['x-cache']], ['STALE', 'STALE']);
  assert.match(String(first.headers['age']), /^[0-9]$/);
  assert.ok(first.totalMs < 4_000, `${first.totalMs} ms`);
  assert.ok(second.totalMs < atOnceMs, `${second.totalMs} ms`);
});

test('pulls by digest alone find out that upstream is back', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  upstream.add('library/app', image, '1');
  const url = `${mirror.url}/v2/library/app/manifests/${image.manifest.digest}`;
  await get(url);
  await upstream.stop();
  for (let times = 0; times < 6; times += 1) await get(`${mirror.url}/v2/app/manifests/none`);

  const incomplete = await get(url);
  await upstream.restart();
  const after = await until('upstream to be found', async () => {
    const answer = await get(url);
    return answer.status === 200 ? answer : undefined;
  });

  assert.equal(incomplete.status, 503);
  assert.equal(after.digest, image.manifest.digest);
});

test('with a token server that hangs the copy comes within 3 s, too', async () => {
  await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
  await using mirror = await startFilledMirror(upstream);
  upstream.revokeTokens();
  upstream.script({ when: { kind: 'token' }, do: { holdUntil: new Promise(() => {}) } });

  const first = await get(`${mirror.url}/v2/library/app/manifests/1`);
  const second = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.deepEqual([first.headers['x-cache'], second.headers['x-cache']], ['STALE', 'STALE']);
  assert.ok(first.totalMs < 3_000, `first ${first.totalMs} ms`);
  assert.ok(second.totalMs < atOnceMs, `second ${second.totalMs} ms`);
});

test('offline for the whole mirror: nothing is asked, what is here is served', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, config: { offline: true } });
  upstream.add('library/app', image, '1');

  const answer = await get(`${mirror.url}/v2/library/app/manifests/1`);

  assert.equal(answer.status, 503);
  assert.match(answer.body.toString(), /offline/);
  assert.equal(upstream.count(), 0);
});

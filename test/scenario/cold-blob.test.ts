import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeBlob } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

test('a cold blob streams to the client and is a hit afterwards', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('simple', 5 * mib + 17);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/library/app/blobs/${blob.digest}`;

  const cold = await get(url);
  await mirror.observed('fill-committed');
  const warm = await get(url);

  assert.equal(cold.status, 200);
  assert.equal(cold.digest, blob.digest);
  assert.equal(cold.headers['x-cache'], 'MISS');
  assert.equal(cold.headers['content-length'], String(blob.bytes.length));
  assert.equal(cold.headers['docker-content-digest'], blob.digest);
  assert.equal(warm.digest, blob.digest);
  assert.equal(warm.headers['x-cache'], 'HIT');
  assert.equal(upstream.count({ kind: 'blob' }), 1);
});

test('clients that ask together share one upstream GET', async () => {
  const headers = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { holdUntil: headers.promise } }],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('together', 4 * mib);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/library/app/blobs/${blob.digest}`;

  const asking = Array.from({ length: 200 }, () => get(url));
  await upstream.arrived({ kind: 'blob' });
  headers.resolve();
  const answers = await Promise.all(asking);

  assert.deepEqual(new Set(answers.map(({ digest }) => digest)), new Set([blob.digest]));
  assert.equal(upstream.count({ kind: 'blob' }), 1);
  assert.equal(upstream.bytesSent(blob.digest), blob.bytes.length);
});

test('the first byte goes out while upstream still holds the rest', async () => {
  const rest = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob' }, do: { stall: { afterBytes: 100_000, until: rest.promise } } },
    ],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('early', 3 * mib);
  upstream.addBlob('library/app', blob);

  const early = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`, {
    stopAfterBytes: 50_000,
  });
  const asked = get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  rest.resolve();
  const whole = await asked;

  assert.ok(early.bodyBytes >= 50_000);
  assert.equal(whole.digest, blob.digest);
  assert.equal(upstream.count({ kind: 'blob' }), 1);
});

test('a slow client and a leaving one harm nobody: eight fast ones run at upstream speed, one transfer', async () => {
  const rate = 20 * mib;
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: rate });
  await using mirror = await startMirror({ upstream, settings: { connectionsPerBlob: 1 } });
  const blob = makeBlob('slow first', 24 * mib);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/library/app/blobs/${blob.digest}`;
  const slowEnds = new AbortController();

  const slow = get(url, { readBytesPerSecond: 200_000, signal: slowEnds.signal });
  const leaving = get(url, { stopAfterBytes: 2 * mib });
  await upstream.arrived({ kind: 'blob' });
  const fast = await Promise.all(Array.from({ length: 8 }, () => get(url)));
  slowEnds.abort();
  await Promise.all([slow, leaving]);

  const soloMs = (blob.bytes.length / rate) * 1000;
  for (const { digest, totalMs } of fast) {
    assert.equal(digest, blob.digest);
    // Far from what the slow one needs (two minutes); the exact ratio is the benchmark's.
    assert.ok(totalMs < soloMs * 3, `${totalMs} ms, alone about ${soloMs} ms`);
  }
  assert.equal(upstream.count({ kind: 'blob' }), 1);
});

test('the download outlives the clients that asked for it when it is past half', async () => {
  const tail = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob' }, do: { stall: { afterBytes: 30 * mib, until: tail.promise } } },
    ],
  });
  await using mirror = await startMirror({ upstream, settings: { connectionsPerBlob: 1 } });
  const blob = makeBlob('outlives', 40 * mib);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/library/app/blobs/${blob.digest}`;

  await get(url, { stopAfterBytes: 25 * mib });
  tail.resolve();
  await mirror.observed('fill-committed');
  const warm = await get(url);

  assert.equal(warm.headers['x-cache'], 'HIT');
  assert.equal(warm.digest, blob.digest);
  assert.equal(upstream.count({ kind: 'blob' }), 1);
});

test('a range at the end of a cold blob does not wait for the whole', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 16 * mib });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('tail', 96 * mib);
  upstream.addBlob('library/app', blob);
  const start = blob.bytes.length - 2 * mib;

  const tail = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`, {
    headers: { range: `bytes=${start}-` },
    keepBodyBytes: 2 * mib,
  });
  // It joins what runs: by digest, so all that arrived is right.
  const whole = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(tail.status, 206);
  assert.equal(
    tail.headers['content-range'],
    `bytes ${start}-${blob.bytes.length - 1}/${blob.bytes.length}`,
  );
  assert.ok(tail.body.equals(blob.bytes.subarray(start)));
  assert.ok(
    tail.totalMs < 6000 / 4,
    `${tail.totalMs} ms; the whole takes 6,000 ms by one connection`,
  );
  assert.equal(whole.digest, blob.digest);
});

test('who leaves before the answer begins is not waited for', async () => {
  const headers = Promise.withResolvers<void>();
  const rest = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob', ranged: true }, do: { holdUntil: rest.promise } },
      {
        when: { kind: 'blob' },
        do: { holdUntil: headers.promise, stall: { afterBytes: mib, until: rest.promise } },
      },
    ],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('left early', 40 * mib);
  upstream.addBlob('library/app', blob);
  const clients = (): number | undefined => mirror.app.mirror.fills[0]?.clients;
  const asking = request(`${mirror.url}/v2/library/app/blobs/${blob.digest}`, {
    headers: { range: `bytes=${30 * mib}-` },
  });
  asking.on('error', () => {});
  asking.end();
  await until('the client waits', () => clients() === 1);

  asking.destroy();
  // By its answer the mirror has seen the end of the connection, too.
  await get(`${mirror.url}/v2/`);
  headers.resolve();

  await until('nobody is left', () => clients() === 0);
  rest.resolve();
});

test('eight parallel ranges of a cold blob cost one transfer', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 24 * mib });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('ranges', 64 * mib);
  upstream.addBlob('library/app', blob);
  const part = blob.bytes.length / 8;

  const parts = await Promise.all(
    Array.from({ length: 8 }, (_, at) =>
      get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`, {
        headers: { range: `bytes=${at * part}-${(at + 1) * part - 1}` },
        keepBodyBytes: part,
      }),
    ),
  );
  await mirror.observed('fill-committed');

  assert.ok(parts.every(({ status }) => status === 206));
  assert.ok(Buffer.concat(parts.map(({ body }) => body)).equals(blob.bytes));
  const ratio = upstream.bytesSent(blob.digest) / blob.bytes.length;
  assert.ok(ratio < 1.05, `upstream sent ${ratio} times the blob`);
});

test('a large blob from a slow upstream comes over several connections', async () => {
  const rate = 10 * mib;
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: rate, latencyMs: 30 });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('several', 40 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  const committed = await mirror.observed('fill-committed');

  assert.equal(answer.digest, blob.digest);
  assert.ok(committed.connections >= 4);
  assert.ok(answer.totalMs < 4000 * 0.6, `${answer.totalMs} ms; 4,000 ms by one connection`);
  assert.ok(committed.fetchedBytes <= blob.bytes.length * 1.05);
});

test('upstream that truncates twice, resets and answers 503 once costs the client nothing', async () => {
  await using upstream = await startScriptedRegistry({
    // A reset throws away what the receiving kernel holds; at a link's pace that is little.
    rateBytesPerSecond: 50 * mib,
    rules: [
      { when: { kind: 'blob' }, times: 1, do: { truncateAfterBytes: 3 * mib } },
      { when: { kind: 'blob' }, times: 1, do: { status: 503 } },
      { when: { kind: 'blob' }, times: 1, do: { truncateAfterBytes: 2 * mib } },
      { when: { kind: 'blob' }, times: 1, do: { resetAfterBytes: 4 * mib } },
    ],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('broken', 20 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(answer.digest, blob.digest);
  assert.ok(answer.complete);
  assert.ok(upstream.bytesSent(blob.digest) <= blob.bytes.length * 1.1);
});

test('upstream that starts again in the middle of a body costs the client nothing', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob' }, times: 1, do: { truncateAfterBytes: 6_000_000 } },
      { when: { kind: 'blob' }, times: 4, do: { hangUp: true } },
    ],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('restart', 8_000_000);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(answer.digest, blob.digest);
  assert.equal(upstream.count(), 6);
});

test('upstream that ignores ranges is resumed by skipping what is here', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [
      { when: { kind: 'blob' }, times: 1, do: { truncateAfterBytes: 3 * mib, ignoreRange: true } },
      { when: { kind: 'blob' }, do: { ignoreRange: true } },
    ],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('no ranges', 8 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(answer.digest, blob.digest);
});

test('wrong bytes never make a complete body, and the next pull is right', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, times: 1, do: { flipByteAt: 1 * mib } }],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('wrong', 6 * mib);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/library/app/blobs/${blob.digest}`;

  const wrong = await Promise.all([get(url), get(url), get(url)]);
  const failed = await mirror.observed('fill-failed');
  const right = await get(url);

  assert.deepEqual(
    wrong.map(({ complete }) => complete),
    [false, false, false],
  );
  assert.equal(failed.code, 'CONTENT_CORRUPT');
  assert.equal(right.digest, blob.digest);
  assert.ok(right.complete);
});

test('a small wrong blob is answered as one that cannot be had', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, times: 1, do: { flipByteAt: 10 } }],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('wrong small', 1000);
  upstream.addBlob('library/app', blob);

  const wrong = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  const right = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(wrong.complete, false);
  assert.equal(right.digest, blob.digest);
});

test('silence in the middle of a body is broken off and resumed', async () => {
  const never = Promise.withResolvers<void>();
  await using upstream = await startScriptedRegistry({
    rules: [
      {
        when: { kind: 'blob' },
        times: 1,
        do: { stall: { afterBytes: mib, until: never.promise } },
      },
    ],
  });
  await using mirror = await startMirror({ upstream, settings: { timeouts: { idle: '300ms' } } });
  const blob = makeBlob('silent', 6 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  never.resolve();

  assert.equal(answer.digest, blob.digest);
  assert.ok(upstream.bytesSent(blob.digest) <= blob.bytes.length * 1.1);
});

test('a drip below the minimum rate is broken off and resumed', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, times: 1, do: { rateBytesPerSecond: 500 } }],
  });
  await using mirror = await startMirror({
    upstream,
    settings: { timeouts: { idle: '400ms' }, minRate: '10KiB' },
  });
  const blob = makeBlob('drip', 2 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(answer.digest, blob.digest);
});

test('upstream that announces no length is stored all the same, and the client gets one', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { noContentLength: true } }],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('chunked', 2 * mib + 5);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);

  assert.equal(answer.digest, blob.digest);
  assert.equal(answer.headers['content-length'], String(blob.bytes.length));
});

test('an empty blob is served like others', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const empty = makeBlob('empty', 0);
  upstream.addBlob('library/app', empty);

  const cold = await get(`${mirror.url}/v2/library/app/blobs/${empty.digest}`);
  await mirror.observed('fill-committed');
  const warm = await get(`${mirror.url}/v2/library/app/blobs/${empty.digest}`);

  assert.deepEqual([cold.status, cold.bodyBytes, cold.complete], [200, 0, true]);
  assert.deepEqual([warm.status, warm.bodyBytes, warm.headers['x-cache']], [200, 0, 'HIT']);
});

test('a failed download leaves nothing behind', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { truncateAfterBytes: 0 } }],
  });
  await using mirror = await startMirror({ upstream });
  const blob = makeBlob('gone', mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
  await mirror.observed('fill-failed');

  assert.equal(answer.complete, false);
  assert.deepEqual(await readdir(join(mirror.storagePath, 'v1', 'tmp')), []);
});

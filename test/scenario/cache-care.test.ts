import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pinPage, purged, type Purged } from '../../src/api/care.ts';
import { runWithLog } from '../../src/api/runs.ts';
import { runCli } from '../../src/cli/program.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage, sha256, type Image } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';

const mib = 1024 * 1024;

function fileOf(mirror: TestMirror, digest: Digest): string {
  const hex = digest.slice('sha256:'.length);
  return join(mirror.storagePath, 'v1', 'blobs', 'sha256', hex.slice(0, 2), hex);
}

/** All digests on the disk. */
async function stored(mirror: TestMirror): Promise<Set<string>> {
  const folder = join(mirror.storagePath, 'v1', 'blobs', 'sha256');
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return new Set(entries.filter((one) => one.isFile()).map(({ name }) => `sha256:${name}`));
}

function contentOf(image: Image): Digest[] {
  return [image.manifest, image.config, ...image.layers].map(({ digest }) => digest);
}

/** Pulls an image whole, and waits until it is on the disk. */
async function pull(mirror: TestMirror, image: Image, name: string, tag: string): Promise<void> {
  const manifest = await get(`${mirror.url}/v2/${name}/manifests/${tag}`);
  assert.equal(manifest.digest, image.manifest.digest);
  for (const { digest } of [image.config, ...image.layers]) {
    assert.equal((await get(`${mirror.url}/v2/${name}/blobs/${digest}`)).digest, digest);
  }
  await onDisk(mirror, contentOf(image));
}

async function onDisk(mirror: TestMirror, digests: readonly Digest[]): Promise<void> {
  for (;;) {
    const found = await stored(mirror);
    if (digests.every((digest) => found.has(digest))) return;
    await sleep(5);
  }
}

async function ask(
  mirror: TestMirror,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${mirror.app.adminUrl}/api/v1/${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}

async function purge(mirror: TestMirror, query: string): Promise<Purged> {
  const { status, body } = await ask(mirror, 'DELETE', `cache?${query}`);
  assert.equal(status, 200, JSON.stringify(body));
  return purged.parse(body);
}

async function runToEnd(
  mirror: TestMirror,
  path: string,
): Promise<ReturnType<typeof runWithLog.parse>> {
  const { status, body } = await ask(mirror, 'POST', path);
  assert.equal(status, 202, JSON.stringify(body));
  const { id } = body as { id: string };
  await mirror.observed(
    'run-changed',
    (event) => event.id === id && ['succeeded', 'partial', 'failed'].includes(event.state),
  );
  return runWithLog.parse((await ask(mirror, 'GET', `runs/${id}`)).body);
}

async function start(
  config: Record<string, unknown> = {},
  settings: Record<string, unknown> = {},
): Promise<{ upstream: ScriptedRegistry; mirror: TestMirror } & AsyncDisposable> {
  const upstream = await startScriptedRegistry();
  const mirror = await startMirror({ upstream, config, settings });
  return {
    upstream,
    mirror,
    [Symbol.asyncDispose]: async () => {
      await mirror[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

describe('scrub', () => {
  test('finds what no pull touched, quarantines it, and fetches it anew', async () => {
    await using it = await start({ storage: { verify: { scrubRate: 0 } } });
    const { mirror, upstream } = it;
    const image = makeImage({ seed: 'scrubbed', layers: [2 * mib, 1000] });
    upstream.add('library/app', image, '1');
    await pull(mirror, image, 'app', '1');
    for (const digest of [image.layers[0]!.digest, image.manifest.digest]) {
      const bytes = await readFile(fileOf(mirror, digest));
      bytes[bytes.length >> 1]! ^= 4;
      await writeFile(fileOf(mirror, digest), bytes);
    }

    const run = await runToEnd(mirror, 'scrub');
    await onDisk(mirror, contentOf(image));

    assert.equal(run.state, 'succeeded', JSON.stringify(run.errors));
    assert.equal(run.progress.blobsDone, 4);
    assert.equal(mirror.observedOf('content-corrupt').length, 2);
    for (const digest of contentOf(image)) {
      assert.equal(sha256(await readFile(fileOf(mirror, digest))), digest);
    }
    assert.equal((await readdir(join(mirror.storagePath, 'v1', 'quarantine'))).length, 2);
  });

  test('what upstream no longer has is removed all the same, and reported', async () => {
    await using it = await start({ storage: { verify: { scrubRate: 0 } } });
    const { mirror, upstream } = it;
    const blob = makeBlob('lost', 3000);
    upstream.addBlob('library/app', blob);
    await get(`${mirror.url}/v2/app/blobs/${blob.digest}`);
    await onDisk(mirror, [blob.digest]);
    await writeFile(fileOf(mirror, blob.digest), 'something else');
    upstream.remove('library/app', blob.digest);

    const run = await runToEnd(mirror, 'scrub');

    assert.equal(run.state, 'partial');
    assert.deepEqual(
      run.errors.map(({ object }) => object),
      [blob.digest],
    );
    assert.equal((await stored(mirror)).has(blob.digest), false);
  });
});

describe('pins', () => {
  test('a pinned image outlasts what is pulled after it, and is let go when it is unpinned', async () => {
    await using it = await start({ storage: { maxSize: '12MiB' } });
    const { mirror, upstream } = it;
    const kept = makeImage({ seed: 'kept', layers: [3 * mib] });
    upstream.add('library/app', kept, '1');
    await pull(mirror, kept, 'app', '1');

    const pinned = await ask(mirror, 'POST', 'pins', { reference: 'app:1' });
    const others = Array.from({ length: 8 }, (_, at) => makeBlob(`other ${at}`, 3 * mib));
    const pullOthers = async (): Promise<void> => {
      for (const other of others) {
        upstream.addBlob('library/other', other);
        assert.equal(
          (await get(`${mirror.url}/v2/other/blobs/${other.digest}`)).digest,
          other.digest,
        );
      }
    };
    await pullOthers();
    const while_ = await stored(mirror);
    const listed = pinPage.parse((await ask(mirror, 'GET', 'pins')).body);
    await mirror.restart();
    await mirror.app.counted;
    await pullOthers();
    const after = await stored(mirror);
    const unpinned = await ask(mirror, 'DELETE', 'pins?ref=app:1');
    await pullOthers();

    assert.equal(pinned.status, 200, JSON.stringify(pinned.body));
    assert.deepEqual(
      listed.items.map(({ reference, keeps }) => [reference, keeps]),
      [['docker.io/library/app:1', 3]],
    );
    for (const digest of contentOf(kept)) {
      assert.ok(while_.has(digest), 'kept while it is pinned');
      assert.ok(after.has(digest), 'kept after a restart');
    }
    assert.equal(unpinned.status, 204);
    assert.equal((await stored(mirror)).has(kept.layers[0]!.digest), false);
  });

  test('what two pins keep stays when one goes; a purge passes over what is pinned', async () => {
    await using it = await start();
    const { mirror, upstream } = it;
    const shared = [{ name: 'shared', bytes: makeBlob('shared', 100_000).bytes }];
    const [one, two] = ['one', 'two'].map((seed) => makeImage({ seed, layers: [shared, 500] }));
    upstream.add('library/app', one!, '1');
    upstream.add('library/app', two!, '2');
    await pull(mirror, one!, 'app', '1');
    await pull(mirror, two!, 'app', '2');
    await ask(mirror, 'POST', 'pins', { reference: 'app:1' });
    await ask(mirror, 'POST', 'pins', { reference: 'app:2' });

    await ask(mirror, 'DELETE', 'pins?ref=app:1');
    const result = await purge(mirror, 'pattern=**');

    const left = await stored(mirror);
    assert.deepEqual([...left].sort(), contentOf(two!).sort());
    assert.deepEqual(result.tags, ['docker.io/library/app:1']);
    assert.match(result.log.join('\n'), /kept docker\.io\/library\/app:2: it is pinned/);
  });

  test('a pinned tag is followed when it moves', async () => {
    await using it = await start({}, { tagTtl: '0s' });
    const { mirror, upstream } = it;
    const [old, young] = ['old', 'young'].map((seed) => makeImage({ seed, layers: [5000] }));
    upstream.add('library/app', old!, '1');
    await pull(mirror, old!, 'app', '1');
    await ask(mirror, 'POST', 'pins', { reference: 'app:1' });

    upstream.add('library/app', young!, '1');
    await pull(mirror, young!, 'app', '1');
    await mirror.app.mirror.care.pins.settled();
    const { items } = pinPage.parse((await ask(mirror, 'GET', 'pins')).body);

    assert.equal(items[0]?.digest, young!.manifest.digest);
    assert.equal(items[0]?.keeps, 3);
  });
});

describe('purge', () => {
  test('an image goes with what only it needs; a dry run says so first and removes nothing', async () => {
    await using it = await start();
    const { mirror, upstream } = it;
    const shared = [{ name: 'shared', bytes: makeBlob('shared', 100_000).bytes }];
    const [one, two] = ['one', 'two'].map((seed) => makeImage({ seed, layers: [shared, 500] }));
    upstream.add('library/app', one!, '1');
    upstream.add('library/other', two!, '2');
    await pull(mirror, one!, 'app', '1');
    await pull(mirror, two!, 'other', '2');
    const before = await stored(mirror);

    const dry = await purge(mirror, 'ref=app:1&dryRun=true');
    const afterDry = await stored(mirror);
    const real = await purge(mirror, 'ref=app:1');

    assert.deepEqual(afterDry, before);
    assert.deepEqual({ ...dry, isDryRun: false, log: [] }, { ...real, log: [] });
    const leaving = contentOf(one!).filter((digest) => digest !== one!.layers[0]!.digest);
    assert.equal(real.blobs, leaving.length);
    assert.ok(real.bytes > 500);
    assert.deepEqual([...(await stored(mirror))].sort(), contentOf(two!).sort());
    const asked = upstream.count({ method: 'GET', kind: 'manifest' });
    await pull(mirror, one!, 'app', '1');
    assert.equal(upstream.count({ method: 'GET', kind: 'manifest' }), asked + 1);
  });

  test('by digest, by pattern and by age', async () => {
    await using it = await start();
    const { mirror, upstream } = it;
    const images = ['a', 'b', 'c', 'd'].map((seed) => makeImage({ seed, layers: [1000] }));
    for (const [at, image] of images.entries()) {
      upstream.add(`library/app${at}`, image, 'v1');
      await pull(mirror, image, `app${at}`, 'v1');
    }
    const [a, , c, d] = images as [Image, Image, Image, Image];

    const byDigest = await purge(mirror, `ref=${a.manifest.digest}`);
    const byPattern = await purge(mirror, 'pattern=docker.io/library/app1:v*');
    const before = await stored(mirror);
    await sleep(1_100);
    // Who looks after the cache does not use it.
    await runToEnd(mirror, 'gc');
    await runToEnd(mirror, 'scrub');
    await pull(mirror, d, 'app3', 'v1');
    const byAge = await purge(mirror, 'older-than=1s');

    assert.deepEqual(byDigest.tags, ['docker.io/library/app0:v1']);
    assert.deepEqual(byPattern.tags, ['docker.io/library/app1:v1']);
    assert.deepEqual([...before].sort(), [...contentOf(c), ...contentOf(d)].sort());
    assert.deepEqual(byAge.tags, ['docker.io/library/app2:v1']);
    assert.deepEqual([...(await stored(mirror))].sort(), contentOf(d).sort());
  });

  test('a reader in the middle is not cut', async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });
    const image = makeImage({ seed: 'read', layers: [24 * mib] });
    upstream.add('library/app', image, '1');
    await pull(mirror, image, 'app', '1');
    const [layer] = image.layers;

    const reading = get(`${mirror.url}/v2/app/blobs/${layer!.digest}`, {
      readBytesPerSecond: 40 * mib,
    });
    await mirror.observed('request', ({ what }) => what === 'manifest');
    const result = await purge(mirror, 'ref=app:1');
    const answer = await reading;

    assert.ok(result.bytes > 24 * mib);
    assert.deepEqual([answer.complete, answer.digest], [true, layer!.digest]);
  });

  test('without saying what, nothing is purged', async () => {
    await using it = await start();

    assert.equal((await ask(it.mirror, 'DELETE', 'cache')).status, 400);
  });
});

describe('gc', () => {
  test('removes what no tag holds and the names of what is gone, and leaves images whole', async () => {
    await using it = await start({}, { tagTtl: '0s' });
    const { mirror, upstream } = it;
    const [old, young] = ['old', 'young'].map((seed) => makeImage({ seed, layers: [4000] })) as [
      Image,
      Image,
    ];
    for (const image of [old, young]) {
      upstream.add('library/app', image, '1');
      await pull(mirror, image, 'app', '1');
    }

    const dry = await runToEnd(mirror, 'gc?untagged=0s&dryRun=true');
    const afterDry = await stored(mirror);
    const run = await runToEnd(mirror, 'gc?untagged=0s');

    assert.equal(dry.progress.blobsDone, 3);
    assert.equal(afterDry.size, 6);
    assert.equal(run.state, 'succeeded');
    assert.deepEqual([...(await stored(mirror))].sort(), contentOf(young).sort());
  });
});

describe('a cached private layer', () => {
  test('asked through another repository is 404 by GET and HEAD, however it is here', async () => {
    await using it = await start();
    const { mirror, upstream } = it;
    const secret = makeImage({ seed: 'private', layers: [5000] });
    upstream.add('team/private', secret, '1');
    await pull(mirror, secret, 'team/private', '1');
    upstream.add('library/public', makeImage({ seed: 'public', layers: [10] }), '1');

    for (const { digest } of [...secret.layers, secret.config]) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await get(`${mirror.url}/v2/library/public/blobs/${digest}`, { method });
        assert.equal(answer.status, 404, `${method} ${digest}`);
      }
    }
    for (const method of ['GET', 'HEAD']) {
      const url = `${mirror.url}/v2/library/public/manifests/${secret.manifest.digest}`;
      assert.equal((await get(url, { method })).status, 404, `${method} manifest`);
    }
    const [layer] = secret.layers;
    const allowed = await get(`${mirror.url}/v2/team/private/blobs/${layer!.digest}`);
    assert.equal(allowed.status, 200);
  });
});

test('the commands pin, unpin, purge, gc and scrub do what they say', async () => {
  await using it = await start({ storage: { verify: { scrubRate: 0 } } });
  const { mirror, upstream } = it;
  const image = makeImage({ seed: 'by hand', layers: [5000] });
  upstream.add('library/app', image, '1');
  await pull(mirror, image, 'app', '1');
  const cli = async (...argv: string[]): Promise<string> => {
    let text = '';
    const output = { write: (more: string) => (text += more) };
    const io = { env: {}, stdout: output, stderr: output, serve: () => Promise.resolve(1) };
    const code = await runCli([...argv, '--server', mirror.app.adminUrl], io);
    return `${code} ${text}`;
  };

  const said = [
    await cli('pin', 'app:1'),
    await cli('pin'),
    await cli('purge', 'app:1'),
    await cli('unpin', 'app:1'),
    await cli('unpin', 'app:1'),
    await cli('scrub'),
    await cli('gc', '--dry-run', '--untagged', '0s'),
    await cli('purge', '--older-than', '0s', '--dry-run'),
    await cli('purge', 'app:1'),
    await cli('purge', '--roll-back', 'app:1'),
  ];

  const expected = [
    /^0 docker\.io\/library\/app:1 is pinned: 3 blobs stay/,
    /^0 IMAGE .*\ndocker\.io\/library\/app:1 /,
    /^0 kept docker\.io\/library\/app:1: it is pinned/,
    /^0 app:1 is no longer pinned/,
    /^1 entrepot: app:1 is not pinned/,
    /^0 [^]*3 are sound, 0 were wrong/,
    /^0 [^]*dry run succeeded; \d+ blobs would go/,
    /^0 [^]*1 tags and 3 blobs would go/,
    /^0 [^]*1 tags and 3 blobs are gone/,
    /^1 entrepot: nothing is known that docker\.io\/library\/app:1 named before/,
  ];
  for (const [at, text] of said.entries()) assert.match(text, expected[at]!);
  assert.equal((await stored(mirror)).size, 0);
});

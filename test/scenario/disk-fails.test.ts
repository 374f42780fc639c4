import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemDisk, type Disk, type DiskFile } from '../../src/store/disk.ts';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage, type Piece } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { tarOf } from '../kit/tar.ts';

const mib = 1024 * 1024;

type Call = 'open' | 'write' | 'read' | 'datasync' | 'rename' | 'makeFolder' | 'space';

/** The real disk, of which some calls fail: `fails` is asked at each one. */
function failingDisk(fails: (call: Call) => boolean): Disk {
  const guard = async <T>(call: Call, work: () => Promise<T>): Promise<T> => {
    if (!fails(call)) return work();
    throw Object.assign(new Error(`${call}: no space left on device`), { code: 'ENOSPC' });
  };
  const fileOf = (file: DiskFile): DiskFile => ({
    fd: file.fd,
    read: (buffer, position) => guard('read', () => file.read(buffer, position)),
    write: (bytes, position) => guard('write', () => file.write(bytes, position)),
    datasync: () => guard('datasync', () => file.datasync()),
    stat: () => file.stat(),
    close: () => file.close(),
  });
  return {
    ...systemDisk,
    open: (path, flags) => guard('open', async () => fileOf(await systemDisk.open(path, flags))),
    rename: (from, to) => guard('rename', () => systemDisk.rename(from, to)),
    makeFolder: (path) => guard('makeFolder', () => systemDisk.makeFolder(path)),
    space: (path) => guard('space', () => systemDisk.space(path)),
  };
}

test('whichever file call of a pull fails, from the first to the last, clients get the right bytes', async () => {
  const image = makeImage({ seed: 'k-th', layers: [1_500_000] });
  const pull = async (failAt: number): Promise<number> => {
    let calls = 0;
    let isArmed = false;
    const disk = failingDisk(() => isArmed && (calls += 1) === failAt);
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream, disk });
    upstream.add('library/app', image, '1');
    isArmed = true;

    const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
    const layers = await Promise.all(
      [image.config, ...image.layers].map(({ digest }) =>
        get(`${mirror.url}/v2/app/blobs/${digest}`),
      ),
    );
    const again = await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);

    assert.equal(manifest.digest, image.manifest.digest, `call ${failAt}`);
    assert.deepEqual(
      layers.map(({ digest, complete }) => [digest, complete]),
      [image.config, ...image.layers].map(({ digest }) => [digest, true]),
      `call ${failAt}`,
    );
    assert.equal(again.digest, image.layers[0]!.digest, `call ${failAt}`);
    return calls;
  };
  const golden = await pull(0);
  assert.ok(golden > 20, `${golden} file calls`);

  for (let failAt = 1; failAt <= golden; failAt += 1) await pull(failAt);
});

test('a full disk is none of our bugs, whether a manifest comes or an archive', async () => {
  const image = makeImage({ seed: 'no bug', layers: [1_500_000] });
  await using upstream = await startScriptedRegistry();
  let isFull = true;
  const disk = failingDisk((call) => call === 'write' && isFull);
  await using mirror = await startMirror({ upstream, disk });
  upstream.add('library/app', image, '1');

  await get(`${mirror.url}/v2/app/manifests/1`);
  const [{ digest, bytes }] = image.layers as [Piece];
  const name = `blobs/${digest.replace(':', '/')}`;
  const imported = await fetch(`${mirror.adminUrl}/api/v1/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-tar' },
    body: new Uint8Array(tarOf([{ name, bytes }])),
  });
  isFull = false;
  await mirror.restart();

  assert.equal(imported.status, 503, await imported.text());
  assert.deepEqual(mirror.observedOf('bug'), []);
});

test('a disk that is full from some point on costs the cache, not the clients', async () => {
  let written = 0;
  const disk = failingDisk((call) => call === 'write' && (written += 1) > 20);
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 40 * mib });
  await using mirror = await startMirror({ upstream, disk });
  const blob = makeBlob('full disk', 16 * mib);
  upstream.addBlob('library/app', blob);
  const url = `${mirror.url}/v2/app/blobs/${blob.digest}`;

  const answers = await Promise.all([get(url), get(url)]);
  const later = await get(url);
  const part = await get(url, { headers: { range: 'bytes=1000-1999' } });

  for (const answer of [...answers, later]) {
    assert.equal(answer.digest, blob.digest);
    assert.ok(answer.complete);
  }
  assert.ok(part.body.equals(blob.bytes.subarray(1000, 2000)));
  assert.notEqual(mirror.observedOf('store-failed').length, 0);
});

test('what passes through uncached is held to its digest, too', async () => {
  await using upstream = await startScriptedRegistry({
    rules: [{ when: { kind: 'blob' }, do: { flipByteAt: 1000 } }],
  });
  await using mirror = await startMirror({
    upstream,
    disk: failingDisk((call) => call === 'write'),
  });
  const blob = makeBlob('wrong and full', 2 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/app/blobs/${blob.digest}`);

  assert.equal(answer.complete, false);
});

test('a blob larger than the budget passes through', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, config: { storage: { maxSize: '1MiB' } } });
  const blob = makeBlob('too large', 3 * mib);
  upstream.addBlob('library/app', blob);

  const answer = await get(`${mirror.url}/v2/app/blobs/${blob.digest}`);

  assert.equal(answer.digest, blob.digest);
  assert.equal(mirror.observedOf('fill-uncached').length, 1);
});

test('readyz says that the disk refuses to be written, and what upstream does not answer', async () => {
  let isBroken = false;
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream,
    disk: failingDisk((call) => isBroken && call === 'write'),
  });
  await using healthy = await startMirror({ upstream, settings: { timeouts: { connect: '1s' } } });
  await mirror.app.counted;
  const look = async (of: typeof mirror): Promise<unknown[]> => {
    const answer = await fetch(`${of.adminUrl}/readyz`);
    const { status, reasons, warnings } = (await answer.json()) as Record<string, unknown>;
    return [answer.status, status, reasons, warnings];
  };

  isBroken = true;
  const [status, word, reasons] = await look(mirror);
  await upstream.stop();
  // The breaker opens after some.
  for (let at = 0; at < 6; at += 1) await get(`${healthy.url}/v2/app/manifests/${at}`);
  const whileDown = await look(healthy);

  assert.deepEqual([status, word], [503, 'not ready']);
  assert.match(String(reasons), /refuses to be written: write: no space left on device/);
  assert.deepEqual(whileDown.slice(0, 3), [200, 'ready', []]);
  assert.match(String(whileDown[3]), /upstream docker\.io does not answer/);
});

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { imported, type Imported } from '../../src/api/care.ts';
import { runCli } from '../../src/cli/program.ts';
import { get } from '../kit/clients.ts';
import {
  descriptorOf,
  makeImage,
  makeIndex,
  sha256,
  type Image,
  type Piece,
} from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { tarOf, type TarEntry } from '../kit/tar.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

/** A mirror whose upstream holds nothing, and is away. */
async function startAlone(): Promise<
  { mirror: TestMirror; upstream: ScriptedRegistry } & AsyncDisposable
> {
  const upstream = await startScriptedRegistry();
  const mirror = await startMirror({ upstream });
  await upstream.stop();
  return {
    mirror,
    upstream,
    [Symbol.asyncDispose]: async () => {
      await mirror[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

async function cli(
  mirror: TestMirror,
  ...argv: string[]
): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const code = await runCli([...argv, '--server', mirror.app.adminUrl], {
    env: {},
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.resolve(1),
  });
  return { code, out, err };
}

async function importJson(mirror: TestMirror, ...argv: string[]): Promise<Imported> {
  const { out, err } = await cli(mirror, 'import', '--json', ...argv);
  assert.equal(err, '');
  return imported.parse(JSON.parse(out));
}

async function assertServed(
  mirror: TestMirror,
  name: string,
  tag: string,
  image: Image,
): Promise<void> {
  for (const reference of [tag, image.manifest.digest]) {
    const manifest = await get(`${mirror.url}/v2/${name}/manifests/${reference}`);
    assert.deepEqual([manifest.status, manifest.digest], [200, image.manifest.digest], reference);
  }
  for (const { digest } of [image.config, ...image.layers]) {
    const blob = await get(`${mirror.url}/v2/${name}/blobs/${digest}`);
    assert.deepEqual([blob.status, blob.digest, blob.complete], [200, digest, true]);
  }
}

function blobPath({ digest }: Piece): string {
  return `blobs/sha256/${digest.slice(7)}`;
}

function layoutOf(image: Image, annotations: Record<string, string>): TarEntry[] {
  const index = { schemaVersion: 2, manifests: [{ ...descriptorOf(image.manifest), annotations }] };
  return [
    { name: 'oci-layout', bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
    { name: 'index.json', bytes: Buffer.from(JSON.stringify(index)) },
    ...[image.manifest, image.config, ...image.layers].map((piece) => ({
      name: blobPath(piece),
      bytes: piece.bytes,
    })),
  ];
}

describe('export and import', () => {
  for (const format of ['oci', 'docker']) {
    test(`as ${format}: images of one mirror are pulled from another that has no upstream`, async () => {
      await using folder = await temporaryFolder();
      await using upstream = await startScriptedRegistry();
      await using source = await startMirror({ upstream });
      await using alone = await startAlone();
      const shared = { name: 'shared', bytes: makeImage({ seed: 1, layers: [] }).config.bytes };
      const one = makeImage({ seed: 'one', layers: [[shared], 2 * mib] });
      const two = makeImage({ seed: 'two', layers: [[shared], 70_000], docker: true });
      const other = makeImage({ seed: 'arm', layers: [1000], platform: 'linux/arm64' });
      const index = makeIndex([one, other]);
      upstream.add('library/one', index, '1');
      upstream.add('team/two', two, 'v2');
      const file = join(folder.path, 'images.tar');

      const exported = await cli(
        source,
        'export',
        'one:1',
        'docker.io/team/two:v2',
        '-o',
        file,
        '--format',
        format,
      );
      const found = await importJson(alone.mirror, file);
      const again = await importJson(alone.mirror, file);

      assert.deepEqual([exported.code, exported.err], [0, '']);
      assert.deepEqual(found.skipped, []);
      assert.deepEqual(
        found.images.map(({ reference }) => reference),
        ['docker.io/library/one:1', 'docker.io/team/two:v2'],
      );
      // Manifests: an index, its image, the other one. Layers and configs: 3 + 3, of which one is shared.
      assert.equal(found.blobs, 8);
      assert.deepEqual([again.blobs, again.present], [0, 8]);
      const top = await get(`${alone.mirror.url}/v2/one/manifests/1`);
      assert.equal(top.digest, index.manifest.digest);
      assert.equal(top.headers['x-cache'], 'STALE');
      await assertServed(alone.mirror, 'team/two', 'v2', two);
      const image = await get(`${alone.mirror.url}/v2/one/manifests/${one.manifest.digest}`);
      assert.equal(image.digest, one.manifest.digest);
      for (const { digest } of [one.config, ...one.layers]) {
        assert.equal((await get(`${alone.mirror.url}/v2/one/blobs/${digest}`)).digest, digest);
      }
    });
  }

  test('what breaks while it is exported leaves no file', async () => {
    await using folder = await temporaryFolder();
    await using upstream = await startScriptedRegistry();
    await using source = await startMirror({ upstream, settings: { readAhead: false } });
    const image = makeImage({ seed: 'broken', layers: [300_000] });
    upstream.add('library/app', image, '1');
    upstream.remove('library/app', image.layers[0]!.digest);
    const file = join(folder.path, 'images.tar');

    const exported = await cli(source, 'export', 'app:1', '-o', file);

    assert.equal(exported.code, 1);
    assert.match(exported.err, /could not be written/);
    await assert.rejects(readFile(file));
    await assert.rejects(readFile(`${file}.partial`));
  });
});

describe('import', () => {
  test('an OCI layout: from a tar, gzipped, and from its folder', async () => {
    await using folder = await temporaryFolder();
    const image = makeImage({ seed: 'layout', layers: [mib] });
    const entries = layoutOf(image, { 'org.opencontainers.image.ref.name': 'v1' });
    const tar = join(folder.path, 'layout.tgz');
    await writeFile(tar, gzipSync(tarOf(entries)));
    for (const entry of entries) {
      const path = join(folder.path, 'layout', entry.name);
      await mkdir(dirname(path), { recursive: true });
      if ('bytes' in entry) await writeFile(path, entry.bytes);
    }

    for (const path of [tar, join(folder.path, 'layout')]) {
      await using alone = await startAlone();
      const nameless = await importJson(alone.mirror, path);
      const named = await importJson(alone.mirror, path, '--name', 'docker.io/team/app');

      assert.match(nameless.skipped[0]!.reason, /no full name/);
      assert.deepEqual(named.skipped, []);
      await assertServed(alone.mirror, 'team/app', 'v1', image);
    }
  });

  test('a docker-registry folder: corrupted and empty blobs are passed over and reported', async () => {
    await using folder = await temporaryFolder();
    await using alone = await startAlone();
    const [good, corrupt, empty] = ['good', 'corrupt', 'empty'].map((seed) =>
      makeImage({ seed, layers: [200_000] }),
    ) as [Image, Image, Image];
    const root = join(folder.path, 'docker', 'registry', 'v2');
    const put = async (path: string, bytes: Buffer | string): Promise<void> => {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), bytes);
    };
    for (const [name, image] of Object.entries({ good, corrupt, empty })) {
      for (const [at, { digest, bytes }] of [
        image.manifest,
        image.config,
        ...image.layers,
      ].entries()) {
        const hex = digest.slice(7);
        const wrong = name === 'corrupt' ? Buffer.from(bytes).fill(7, 100, 110) : Buffer.alloc(0);
        const isWrong = at === 2 && name !== 'good';
        await put(`blobs/sha256/${hex.slice(0, 2)}/${hex}/data`, isWrong ? wrong : bytes);
      }
      const { digest } = image.manifest;
      const base = `repositories/team/${name}/_manifests`;
      await put(`${base}/revisions/sha256/${digest.slice(7)}/link`, digest);
      await put(`${base}/tags/1/current/link`, digest);
      await put(`${base}/tags/1/index/sha256/${digest.slice(7)}/link`, digest);
      await put(`repositories/team/${name}/_uploads/x/data`, 'half');
    }

    const found = await importJson(alone.mirror, folder.path, '--upstream', 'docker.io');

    const reasons = found.skipped.map(({ object, reason }) => `${object}: ${reason}`);
    assert.equal(found.skipped.length, 4, reasons.join('\n'));
    assert.ok(
      reasons.some(
        (text) => text.includes(corrupt.layers[0]!.digest.slice(7)) && /damaged/.test(text),
      ),
    );
    assert.ok(
      reasons.some((text) => text.includes(empty.layers[0]!.digest.slice(7)) && /empty/.test(text)),
    );
    assert.equal(found.images.length, 3);
    await assertServed(alone.mirror, 'team/good', '1', good);
    const missing = await get(
      `${alone.mirror.url}/v2/team/corrupt/blobs/${corrupt.layers[0]!.digest}`,
    );
    assert.equal(missing.status, 404);
  });

  test('a docker archive that names layers by digest becomes an image', async () => {
    await using folder = await temporaryFolder();
    await using alone = await startAlone();
    const image = makeImage({ seed: 'archive', layers: [5000] });
    const layer = Buffer.from('a layer, or so it says');
    const file = (bytes: Buffer, end: string): TarEntry => ({
      name: `${sha256(bytes).slice(7)}.${end}`,
      bytes,
    });
    const list = [
      {
        Config: `${image.config.digest.slice(7)}.json`,
        RepoTags: ['team/app:1'],
        Layers: [`${sha256(layer).slice(7)}.tar`],
      },
    ];
    const path = join(folder.path, 'archive.tar');
    await writeFile(
      path,
      tarOf([
        file(layer, 'tar'),
        file(image.config.bytes, 'json'),
        { name: 'manifest.json', bytes: Buffer.from(JSON.stringify(list)) },
      ]),
    );

    const found = await importJson(alone.mirror, path);
    const manifest = await get(`${alone.mirror.url}/v2/team/app/manifests/1`);
    const blob = await get(`${alone.mirror.url}/v2/team/app/blobs/${sha256(layer)}`);

    assert.deepEqual(found.skipped, []);
    assert.equal(manifest.status, 200);
    assert.equal(blob.digest, sha256(layer));
  });

  test('wrong archives are refused in words, and bring nothing', async () => {
    await using folder = await temporaryFolder();
    await using alone = await startAlone();
    const image = makeImage({ seed: 'evil', layers: [1000] });
    const whole = tarOf(layoutOf(image, { 'io.containerd.image.name': 'evil.example/team/app:1' }));
    const path = join(folder.path, 'evil.tar');

    await writeFile(path, whole);
    const elsewhere = await importJson(alone.mirror, path);
    await writeFile(path, whole.subarray(0, whole.length - 3000));
    const cut = await cli(alone.mirror, 'import', path);
    await writeFile(
      path,
      tarOf([{ name: `../../blobs/sha256/${'a'.repeat(64)}`, bytes: Buffer.from('x') }]),
    );
    const climbing = await importJson(alone.mirror, path);
    await writeFile(path, 'no archive at all'.repeat(100));
    const none = await cli(alone.mirror, 'import', path);

    assert.match(elsewhere.skipped[0]!.reason, /evil\.example is no upstream/);
    assert.match(cut.err, /ends too early/);
    assert.deepEqual([climbing.blobs, climbing.images.length], [0, 0]);
    assert.match(none.err, /no tar archive/);
    assert.deepEqual([cut.code, none.code], [1, 1]);
  });

  test('an upload that breaks off brings what was whole, and is no bug', async () => {
    await using alone = await startAlone();
    const image = makeImage({ seed: 'cut off', layers: [mib] });
    const whole = tarOf(layoutOf(image, { 'io.containerd.image.name': 'docker.io/team/app:1' }));
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const outgoing = request(`${alone.mirror.app.adminUrl}/api/v1/import`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-tar', 'content-length': whole.length },
    });
    outgoing.on('error', () => resolve());

    outgoing.write(whole.subarray(0, whole.length - mib / 2));
    const [manifest, config] = [image.manifest, image.config];
    for (const { digest } of [manifest, config]) {
      const hex = digest.slice(7);
      const path = join(alone.mirror.storagePath, 'v1', 'blobs', 'sha256', hex.slice(0, 2), hex);
      await until('the blob to be stored', () => existsSync(path));
    }
    outgoing.destroy();
    await closed;
    const again = join(alone.mirror.storagePath, '..', 'whole.tar');
    await writeFile(again, whole);
    const found = await importJson(alone.mirror, again);

    assert.equal(found.present, 2);
    assert.equal(found.blobs, 1);
    assert.deepEqual(alone.mirror.observedOf('bug'), []);
    await assertServed(alone.mirror, 'team/app', '1', image);
  });
});

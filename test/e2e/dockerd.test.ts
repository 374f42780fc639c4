import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { sha256, type Image, type ImageIndex } from '../kit/images.ts';
import { requireProgram, type Finished } from '../kit/program.ts';
import { pushImage, startDockerd, startDockerRegistry, type Dockerd } from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { firstFileOf } from '../kit/tar.ts';
import { largeName, makeLarge, makeSmall, smallName } from './pulled-images.ts';

const timeout = 60_000;

test(
  'dockerd pulls through the mirror from a real registry, and again when that is gone',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker', 'docker-registry', 'busybox')) return;
    await using upstream = await startDockerRegistry();
    const small = makeSmall();
    const { index, here } = makeLarge();
    await pushImage(upstream.url, smallName, '1', small);
    await pushImage(upstream.url, largeName, '1', index);
    // Every pull has to ask upstream for the tag, so the last one finds out that it is gone.
    await using mirror = await startMirrorOf(upstream.url, { tagTtl: '0' });
    await using daemon = await startDockerd({ mirrors: [mirror.url] });

    await pullAndCheck(daemon, smallName, small, small);
    await pullAndCheck(daemon, largeName, index, here);
    await runsWhereAllowed(t, daemon, small);
    await removeImages(daemon);
    await pullAndCheck(daemon, largeName, index, here);
    await removeImages(daemon);
    await upstream.stop();

    await pullAndCheck(daemon, smallName, small, small);
    await pullAndCheck(daemon, largeName, index, here);
    const file = await fileIn(daemon, `${largeName}:1`, '/layer-2.bin');
    const byDigest = await daemon.docker('pull', `${largeName}@${index.manifest.digest}`);

    assert.equal(sha256(file), sha256(fileOf(here, 2)));
    assert.equal(byDigest.code, 0, byDigest.stderr);
  },
);

test(
  'dockerd costs upstream each manifest and each layer of its platform once, and a warm pull nothing',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker')) return;
    await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
    const { index, here, elsewhere } = makeLarge('counted');
    upstream.add(largeName, index, '1');
    // One connection a blob: what a second one takes over may be on its way already, and counted twice.
    await using mirror = await startMirrorOf(upstream.url, { connectionsPerBlob: 1 });
    await using daemon = await startDockerd({ mirrors: [mirror.url] });

    await pullAndCheck(daemon, largeName, index, here);
    const coldRequests = upstream.requests.length;
    const manifestGets = upstream.matching({ method: 'GET', kind: 'manifest' });
    const good = manifestGets.filter((request) => request.status === 200);
    await removeImages(daemon);
    await pullAndCheck(daemon, largeName, index, here);

    assert.equal(good.length, 2, 'one GET for the index and one for the manifest');
    for (const piece of [here.config, ...here.layers]) {
      assert.equal(
        upstream.bytesSent(piece.digest),
        piece.bytes.length,
        `upstream bytes of ${piece.digest}`,
      );
    }
    assert.equal(upstream.count({ reference: elsewhere.layers[0]!.digest }), 0);
    assert.equal(upstream.requests.length, coldRequests, 'the warm pull asked upstream');
  },
);

test(
  'dockerd pulls what is cached while upstream limits us, and while it hangs',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker')) return;
    await using upstream = await startScriptedRegistry();
    const { index, here } = makeLarge('limited');
    upstream.add(largeName, index, '1');
    await using mirror = await startMirrorOf(upstream.url, { tagTtl: '0' });
    await using daemon = await startDockerd({ mirrors: [mirror.url] });
    await pullAndCheck(daemon, largeName, index, here);
    const asked = upstream.count();

    await removeImages(daemon);
    upstream.script({ times: 1, do: { status: 429, headers: { 'retry-after': '1' } } });
    await pullAndCheck(daemon, largeName, index, here);
    await removeImages(daemon);
    upstream.script({ do: { holdUntil: new Promise(() => {}) } });
    const startMs = performance.now();
    await pullAndCheck(daemon, largeName, index, here);
    const seconds = (performance.now() - startMs) / 1000;

    assert.ok(seconds < 10, `${seconds} s`);
    assert.ok(upstream.count() - asked <= 3, `${upstream.count() - asked}`);
  },
);

test(
  'an image that nobody has fails within seconds, and the next pull works',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker')) return;
    await using upstream = await startScriptedRegistry();
    const { index, here } = makeLarge('after-failure');
    upstream.add(largeName, index, '1');
    await using mirror = await startMirrorOf(upstream.url);
    await using daemon = await startDockerd({ mirrors: [mirror.url] });

    const startedMs = performance.now();
    const missing = await daemon.docker('pull', `${largeName}:no-such-tag`);
    const tookMs = performance.now() - startedMs;

    assert.notEqual(missing.code, 0);
    assert.ok(tookMs < 30_000, `it took ${tookMs} ms`);
    await pullAndCheck(daemon, largeName, index, here);
  },
);

function startMirrorOf(url: string, settings: object = {}): Promise<EntrepotProcess> {
  return startEntrepotProcess({
    config: { upstreams: { 'docker.io': { urls: [url], ...settings } } },
  });
}

/** Pulls tag 1 by its short name; dockerd itself verifies each digest and diff id. */
async function pullAndCheck(
  daemon: Dockerd,
  name: string,
  tagged: Image | ImageIndex,
  image: Image,
): Promise<void> {
  const shortName = name.replace('library/', '');
  expectSuccess(await daemon.docker('pull', '--quiet', `${shortName}:1`), daemon);
  const inspected = expectSuccess(
    await daemon.docker('image', 'inspect', `${shortName}:1`),
    daemon,
  );
  const [facts] = JSON.parse(inspected.stdout.toString()) as [
    { Id: string; RepoDigests: string[]; RootFS: { Layers: string[] } },
  ];
  assert.deepEqual(facts.RepoDigests, [`${shortName}@${tagged.manifest.digest}`]);
  assert.equal(facts.Id, image.config.digest);
  assert.deepEqual(facts.RootFS.Layers, image.diffIds);
}

async function removeImages(daemon: Dockerd): Promise<void> {
  const ids = await daemon.docker('image', 'ls', '--quiet', '--no-trunc');
  const unique = [...new Set(ids.stdout.toString().trim().split('\n'))];
  expectSuccess(await daemon.docker('image', 'rm', '--force', ...unique), daemon);
}

async function fileIn(daemon: Dockerd, image: string, path: string): Promise<Buffer> {
  const created = expectSuccess(await daemon.docker('create', '--network=none', image), daemon);
  const id = created.stdout.toString().trim();
  const copied = expectSuccess(await daemon.docker('cp', `${id}:${path}`, '-'), daemon);
  expectSuccess(await daemon.docker('rm', id), daemon);
  return firstFileOf(copied.stdout);
}

/** A sandbox may forbid containers: then it is enough that the files are there. */
async function runsWhereAllowed(t: TestContext, daemon: Dockerd, small: Image): Promise<void> {
  const command = ['/bin/busybox', 'sha256sum', '/layer-1.bin'];
  const ran = await daemon.docker('run', '--rm', '--network=none', `${smallName}:1`, ...command);
  if (ran.code !== 0) t.diagnostic(`no container runs here: ${ran.stderr.slice(0, 300)}`);
  else assert.equal(`sha256:${ran.stdout.toString().split(' ')[0]}`, sha256(fileOf(small, 1)));
}

/** The file in a layer that `makeImage` filled. */
function fileOf(image: Image, layer: number): Buffer {
  return firstFileOf(gunzipSync(image.layers[layer]!.bytes));
}

function expectSuccess(finished: Finished, daemon: Dockerd): Finished {
  const log = daemon.output().slice(-3000);
  assert.equal(finished.code, 0, `${finished.stderr}\n--- dockerd wrote:\n${log}`);
  return finished;
}

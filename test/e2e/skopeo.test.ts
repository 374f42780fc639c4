import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { sha256, type Image } from '../kit/images.ts';
import { requireProgram } from '../kit/program.ts';
import { pushImage, startDockerRegistry, startSkopeo, type Skopeo } from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { largeName, makeLarge, makeSmall, smallName } from './pulled-images.ts';

const timeout = 60_000;

test(
  'skopeo copies through a mirror location, every platform, and again when upstream is gone',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'skopeo', 'docker-registry', 'busybox')) return;
    await using upstream = await startDockerRegistry();
    const small = makeSmall();
    const { index, here, elsewhere } = makeLarge();
    await pushImage(upstream.url, smallName, '1', small);
    await pushImage(upstream.url, largeName, '1', index);
    await using mirror = await startEntrepotProcess({
      config: { upstreams: { 'docker.io': { urls: [upstream.url], tagTtl: '0' } } },
    });
    await using skopeo = await startSkopeo(mirrorConf(`${mirror.host}/docker.io`));

    await copyAndCheck(skopeo, `${smallName}:1`, 'cold-small', [small]);
    await copyAndCheck(skopeo, `${largeName}:1`, 'cold', [here, elsewhere]);
    await upstream.stop();
    await copyAndCheck(skopeo, `${smallName}:1`, 'gone-small', [small]);
    await copyAndCheck(skopeo, `${largeName}:1`, 'gone', [here, elsewhere]);
    const oci = await skopeo.run(
      'copy',
      '--all',
      `docker://docker.io/${largeName}:1`,
      `oci:${join(skopeo.folder, 'layout')}:1`,
    );

    assert.equal(oci.code, 0, oci.stderr);
    const blobs = join(skopeo.folder, 'layout', 'blobs', 'sha256');
    const names = await readdir(blobs);
    assert.ok(names.includes(index.manifest.digest.slice('sha256:'.length)));
    for (const name of names)
      assert.equal(sha256(await readFile(join(blobs, name))), `sha256:${name}`);
  },
);

test(
  'skopeo asks upstream for each layer once, and a warm copy for nothing',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'skopeo')) return;
    await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
    const { index, here, elsewhere } = makeLarge('counted');
    upstream.add('team/app', index, 'v1');
    await using mirror = await startEntrepotProcess({
      config: {
        upstreams: { 'ghcr.io': { urls: [upstream.url], connectionsPerBlob: 1 } },
        defaultUpstream: 'ghcr.io',
      },
    });
    await using skopeo = await startSkopeo(mirrorConf(`${mirror.host}/ghcr.io`, 'ghcr.io'));

    await copyAndCheck(skopeo, 'team/app:v1', 'cold', [here, elsewhere], 'ghcr.io');
    const coldRequests = upstream.requests.length;
    await copyAndCheck(skopeo, 'team/app:v1', 'warm', [here, elsewhere], 'ghcr.io');

    for (const layer of [...here.layers, ...elsewhere.layers]) {
      assert.equal(
        upstream.bytesSent(layer.digest),
        layer.bytes.length,
        `upstream bytes of ${layer.digest}`,
      );
    }
    assert.equal(upstream.requests.length, coldRequests, 'the warm copy asked upstream');
  },
);

/** The mirror, and behind it nothing: what it does not answer fails. */
function mirrorConf(location: string, registry = 'docker.io'): string {
  return `
unqualified-search-registries = []
[[registry]]
prefix = "${registry}"
location = "127.0.0.1:1"
insecure = true
[[registry.mirror]]
location = "${location}"
insecure = true
`;
}

async function copyAndCheck(
  skopeo: Skopeo,
  reference: string,
  name: string,
  images: readonly Image[],
  registry = 'docker.io',
): Promise<void> {
  const folder = join(skopeo.folder, name);
  const source = `docker://${registry}/${reference}`;
  const copied = await skopeo.run('copy', '--all', source, `dir:${folder}`);
  assert.equal(copied.code, 0, copied.stderr);
  for (const image of images) {
    for (const piece of [image.config, ...image.layers]) {
      const bytes = await readFile(join(folder, piece.digest.slice('sha256:'.length)));
      assert.equal(sha256(bytes), piece.digest);
    }
  }
}

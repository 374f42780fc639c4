import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { sha256, type Image, type ImageIndex } from '../kit/images.ts';
import { requireProgram } from '../kit/program.ts';
import {
  pushImage,
  startContainerd,
  startDockerRegistry,
  writeHostsToml,
  type Containerd,
} from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { largeName, makeLarge, makeSmall, smallName } from './pulled-images.ts';

const timeout = 60_000;

test(
  'containerd pulls through hosts.toml with ?ns=, cold, warm and with upstream gone',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'containerd', 'ctr', 'docker-registry', 'busybox')) return;
    await using upstream = await startDockerRegistry();
    const small = makeSmall();
    const { index, here } = makeLarge();
    await pushImage(upstream.url, smallName, '1', small);
    await pushImage(upstream.url, largeName, '1', index);
    await using mirror = await startMirrorOf({ 'docker.io': upstream.url });
    await using folder = await temporaryFolder();
    const hosts = await writeHostsToml(folder.path, 'docker.io', mirror.url);
    await using daemon = await startContainerd();

    await pullAndCheck(daemon, hosts, `docker.io/${smallName}:1`, small, small);
    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, index, here);
    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, index, here);
    await upstream.stop();

    await pullAndCheck(daemon, hosts, `docker.io/${smallName}:1`, small, small);
    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, index, here);
  },
);

test(
  'a mirror URL with a path names its upstream, and a warm pull asks upstream nothing',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'containerd', 'ctr')) return;
    await using upstream = await startScriptedRegistry({ auth: { kind: 'bearer' } });
    const { index, here, elsewhere } = makeLarge('by-path');
    upstream.add(largeName, index, '1');
    // One connection a blob: what a second one takes over may be on its way already, and counted twice.
    await using mirror = await startMirrorOf(
      { 'docker.io': upstream.url },
      { connectionsPerBlob: 1 },
    );
    await using folder = await temporaryFolder();
    const hosts = await writeHostsToml(folder.path, 'docker.io', `${mirror.url}/docker.io`);
    await using daemon = await startContainerd();

    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, index, here);
    const coldRequests = upstream.requests.length;
    const sent = here.layers.map((layer) => upstream.bytesSent(layer.digest));
    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, index, here);

    assert.deepEqual(
      sent,
      here.layers.map((layer) => layer.bytes.length),
    );
    assert.equal(upstream.count({ reference: elsewhere.layers[0]!.digest }), 0);
    assert.equal(upstream.requests.length, coldRequests, 'the warm pull asked upstream');
  },
);

test(
  'one mirror serves two registries, each name from its own upstream',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'containerd', 'ctr')) return;
    await using hub = await startScriptedRegistry();
    await using other = await startScriptedRegistry();
    const fromHub = makeLarge('hub');
    const fromOther = makeLarge('other');
    hub.add(largeName, fromHub.index, '1');
    other.add(largeName, fromOther.index, '1');
    await using mirror = await startMirrorOf({ 'docker.io': hub.url, 'ghcr.io': other.url });
    await using folder = await temporaryFolder();
    const hosts = await writeHostsToml(folder.path, '_default', mirror.url);
    await using daemon = await startContainerd();

    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, fromHub.index, fromHub.here);
    await pullAndCheck(daemon, hosts, `ghcr.io/${largeName}:1`, fromOther.index, fromOther.here);
    const unknown = await daemon.pull(`quay.io/${largeName}:1`, hosts);

    assert.notEqual(unknown.code, 0);
    assert.match(unknown.stderr, /not found/);
  },
);

test(
  'containerd does not notice that upstream was cut twice inside a layer',
  { timeout },
  async (t) => {
    if (!requireProgram(t, 'containerd', 'ctr')) return;
    await using upstream = await startScriptedRegistry();
    const { index, here } = makeLarge('cut');
    const layer = here.layers[1]!;
    upstream.add(largeName, index, '1');
    const blob = { kind: 'blob', reference: layer.digest } as const;
    upstream.script({ when: blob, times: 1, do: { truncateAfterBytes: 5_000_000 } });
    upstream.script({ when: blob, times: 1, do: { resetAfterBytes: 1_000_000 } });
    await using mirror = await startMirrorOf({ 'docker.io': upstream.url });
    await using folder = await temporaryFolder();
    const hosts = await writeHostsToml(folder.path, 'docker.io', mirror.url);
    await using daemon = await startContainerd();

    await pullAndCheck(daemon, hosts, `docker.io/${largeName}:1`, index, here);
  },
);

function startMirrorOf(
  urls: Readonly<Record<string, string>>,
  settings: object = {},
): Promise<EntrepotProcess> {
  const upstreams = Object.fromEntries(
    Object.entries(urls).map(([name, url]) => [name, { urls: [url], ...settings }]),
  );
  return startEntrepotProcess({ config: { upstreams } });
}

/** Pulls into an empty containerd: what it holds afterwards came through the mirror just now. */
async function pullAndCheck(
  daemon: Containerd,
  hosts: string,
  reference: string,
  tagged: Image | ImageIndex,
  image: Image,
): Promise<void> {
  await daemon.ctr('images', 'rm', '--sync', reference);
  const pulled = await daemon.pull(reference, hosts);
  assert.equal(pulled.code, 0, `${pulled.stderr}\n${daemon.output().slice(-2000)}`);
  const listed = await daemon.ctr('images', 'ls', `name==${reference}`);
  assert.match(listed.stdout.toString(), new RegExp(tagged.manifest.digest));
  for (const piece of [tagged.manifest, image.manifest, image.config, ...image.layers]) {
    assert.equal(sha256(await daemon.content(piece.digest)), piece.digest);
  }
}

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../../src/cli/program.ts';
import { startMirror } from '../kit/mirror.ts';
import { findProgram, requireProgram, tryRun } from '../kit/program.ts';
import { startDockerd } from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { largeName, makeLarge, makeSmall, smallName } from './pulled-images.ts';

async function run(adminUrl: string, ...argv: string[]): Promise<{ code: number; text: string }> {
  let text = '';
  const output = { write: (more: string) => (text += more) };
  const code = await runCli([...argv, '--server', adminUrl], {
    env: {},
    stdout: output,
    stderr: output,
    serve: () => Promise.resolve(1),
  });
  return { code, text };
}

test(
  'export on one mirror, import on another with no upstream: dockerd pulls from it, and loads the archive',
  { timeout: 90_000 },
  async (t) => {
    if (!requireProgram(t, 'dockerd', 'docker', 'busybox')) return;
    await using folder = await temporaryFolder();
    await using upstream = await startScriptedRegistry();
    await using nothing = await startScriptedRegistry();
    await using here = await startMirror({ upstream });
    await using there = await startMirror({ upstream: nothing });
    await nothing.stop();
    const small = makeSmall();
    const { index } = makeLarge('air gap');
    upstream.add(smallName, small, '1');
    upstream.add(largeName, index, '1');
    const file = join(folder.path, 'images.tar');
    await using daemon = await startDockerd({ mirrors: [there.url] });

    const exported = await run(
      here.app.adminUrl,
      'export',
      `${smallName}:1`,
      `${largeName}:1`,
      '-o',
      file,
    );
    const imported = await run(there.app.adminUrl, 'import', file);
    const pulls = [
      await daemon.docker('pull', `${smallName}:1`),
      await daemon.docker('pull', `${largeName}:1`),
    ];
    const byDigest = await daemon.docker('pull', `${largeName}@${index.manifest.digest}`);
    const loadable = join(folder.path, 'loadable.tar');
    await run(there.app.adminUrl, 'export', `${smallName}:1`, '-o', loadable, '--format', 'docker');
    await daemon.docker('rmi', '-f', `${smallName}:1`);
    const loaded = await daemon.docker('load', '-i', loadable);

    assert.equal(exported.code, 0, exported.text);
    assert.equal(imported.code, 0, imported.text);
    for (const { code, stderr } of [...pulls, byDigest, loaded]) assert.equal(code, 0, stderr);
    assert.match(loaded.stdout.toString(), /entrepot-small:1/);
  },
);

test(
  'skopeo reads the archive with the digests of the registry',
  { timeout: 60_000 },
  async (t) => {
    if (!requireProgram(t, 'skopeo')) return;
    await using folder = await temporaryFolder();
    await using upstream = await startScriptedRegistry();
    await using here = await startMirror({ upstream });
    const { here: image } = makeLarge('skopeo');
    upstream.add('library/skopeo', image, '1');
    const file = join(folder.path, 'image.tar');

    const exported = await run(here.app.adminUrl, 'export', 'skopeo:1', '-o', file);
    const inspected = await tryRun(findProgram('skopeo')!, ['inspect', `oci-archive:${file}`]);

    assert.equal(exported.code, 0, exported.text);
    assert.equal(inspected.code, 0, inspected.stderr);
    assert.equal(
      (JSON.parse(inspected.stdout.toString()) as { Digest: string }).Digest,
      image.manifest.digest,
    );
  },
);

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { get } from '../kit/clients.ts';
import { runCommand, type CommandResult } from '../kit/command.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'json', layers: [30_000] });

function command(mirror: TestMirror, ...argv: string[]): Promise<CommandResult> {
  return runCommand({ ENTREPOT_SERVER: mirror.adminUrl }, ...argv);
}

async function json<T>(running: Promise<CommandResult>, exitCode = 0): Promise<T> {
  const result = await running;
  assert.equal(result.exitCode, exitCode, result.err);
  return JSON.parse(result.out) as T;
}

test('config check --json lists every fault with its place, and nothing when all is right', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'wrong.yaml');
  await writeFile(file, 'storage:\n  maxsise: 20GiB\n');
  const env = { ENTREPOT_STORAGE_MINFREE: 'plenty' };

  const faults = await json<Record<string, unknown>[]>(
    runCommand(env, 'config', 'check', '--config', file, '--json'),
    1,
  );

  assert.deepEqual(
    faults.map(({ file: name, line, column, path }) => [name, line, column, path]),
    [
      [file, 2, 3, 'storage.maxsise'],
      [null, null, null, 'ENTREPOT_STORAGE_MINFREE'],
    ],
  );
  assert.match(String(faults[0]?.['message']), /did you mean maxSize/);
  assert.deepEqual(await json(runCommand({}, 'config', 'check', '--json')), []);
});

test('config print and describe speak JSON', async () => {
  const printed = await json(runCommand({}, 'config', 'print', '--json'));
  const described = await json<Record<string, unknown>[]>(
    runCommand({}, 'config', 'describe', 'storage.maxSize', '--json'),
  );

  assert.deepEqual(printed, parse((await runCommand({}, 'config', 'print')).out));
  assert.deepEqual(
    described.map(({ path }) => path),
    ['storage.maxSize'],
  );
});

test('unpin, export and jobs cancel speak JSON', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await command(mirror, 'prewarm', 'app:1');
  await command(mirror, 'pin', 'app:1');
  const file = join(folder.path, 'images.tar');

  assert.deepEqual(await json(command(mirror, 'unpin', 'app:1', '--json')), {
    reference: 'app:1',
    isPinned: false,
  });
  const written = await json<Record<string, unknown>>(
    command(mirror, 'export', 'app:1', '-o', file, '--json'),
  );
  assert.deepEqual([written['file'], written['images']], [file, ['app:1']]);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  upstream.add('library/slow', makeImage({ seed: 'slow', layers: [30_000] }), '1');
  upstream.script({ when: { kind: 'blob' }, do: { stall: { afterBytes: 10, until: held } } });
  const { out: id } = await command(mirror, 'prewarm', 'slow:1', '--detach');
  const cancelled = await json<{ id: string }>(
    command(mirror, 'jobs', 'cancel', id.trim(), '--json'),
  );
  release();
  assert.equal(cancelled.id, id.trim());
});

test('sync speaks JSON: of one rule its run, of all of them one list', async () => {
  await using upstream = await startScriptedRegistry();
  const push = ['first', 'second'].map((name) => {
    return { name, url: upstream.url, repositories: [`docker.io/${name}/*`] };
  });
  await using mirror = await startMirror({ upstream, config: { site: { name: 'here', push } } });

  const one = await json<{ job: string }>(command(mirror, 'sync', 'first', '--json'));
  const all = await json<{ job: string }[]>(command(mirror, 'sync', '--json'));

  assert.equal(one.job, 'push:first');
  assert.deepEqual(
    all.map(({ job }) => job),
    ['push:first', 'push:second'],
  );
});

test('purge --roll-back speaks JSON', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0s' } });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/app/manifests/1`);
  upstream.add('library/app', makeImage({ seed: 'json 2', layers: [100] }), '1');
  await get(`${mirror.url}/v2/app/manifests/1`);

  assert.deepEqual(await json(command(mirror, 'purge', '--roll-back', 'app:1', '--json')), [
    { reference: 'app:1', digest: image.manifest.digest },
  ]);
});

test('client-config names the mirror as the running server says, in files that clients read', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });

  const docker = await command(mirror, 'client-config', 'docker');
  const podman = await command(mirror, 'client-config', 'podman');
  const asJson = await json<{ mirror: string }>(command(mirror, 'client-config', 'k3s', '--json'));
  const nobody = { ENTREPOT_SERVER: 'http://127.0.0.1:1' };
  const without = await runCommand(nobody, 'client-config', 'docker');

  assert.deepEqual(JSON.parse(docker.out), { 'registry-mirrors': [mirror.url] });
  assert.match(docker.err, /daemon\.json[^]*systemctl reload docker/);
  assert.match(podman.out, /^# \/etc\/containers/);
  assert.deepEqual([podman.err, asJson.mirror], ['', mirror.url]);
  assert.deepEqual(JSON.parse(without.out), { 'registry-mirrors': ['http://127.0.0.1:5000'] });
  assert.match(without.err, /no server answers[^]*This names http:\/\/127\.0\.0\.1:5000/);
});

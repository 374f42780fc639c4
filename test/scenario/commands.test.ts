import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { imagesIn } from '../../src/cli/image-files.ts';
import { runCli } from '../../src/cli/program.ts';
import { size } from '../../src/cli/text.ts';
import { get } from '../kit/clients.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const mainPath = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

const image = makeImage({ seed: 'cli', layers: [50_000] });

async function run(
  mirror: TestMirror,
  ...argv: string[]
): Promise<{ exitCode: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const exitCode = await runCli(argv, {
    env: { ENTREPOT_SERVER: mirror.adminUrl, TAG: '1' },
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.resolve(0),
  });
  return { exitCode, out, err };
}

const compose = `
services:
  web: { image: "app:\${TAG:-9}", ports: ["80:80"] }
  again: { image: app:1 }
  built: { build: . }
`;

const kubernetes = `
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{ name: init, image: busybox:1 }]
      containers: [{ name: app, image: ghcr.io/o/app:2 }]
---
apiVersion: v1
kind: List
items:
  - kind: CronJob
    spec: { jobTemplate: { spec: { template: { spec: { containers: [{ image: quay.io/a/b:3 }] } } } } }
---
# nothing in this one
`;

describe('the images that a file names', () => {
  test('are found in compose files, with variables', () => {
    assert.deepEqual(imagesIn(compose, 'f', { TAG: '1' }), ['app:1']);
    assert.deepEqual(imagesIn(compose, 'f', {}), ['app:9', 'app:1']);
  });

  test('are found in Kubernetes manifests of all kinds', () => {
    assert.deepEqual(imagesIn(kubernetes, 'f', {}), [
      'busybox:1',
      'ghcr.io/o/app:2',
      'quay.io/a/b:3',
    ]);
  });

  test('are found in a list', () => {
    assert.deepEqual(imagesIn('# mine\napp:1\nghcr.io/o/i:2 # two\n\napp:1\n', 'f', {}), [
      'app:1',
      'ghcr.io/o/i:2',
    ]);
  });

  test('or it is said what the file should be', () => {
    assert.throws(() => imagesIn('a: 1', 'f.yml', {}), /f\.yml names no image/);
    assert.throws(() => imagesIn('a: [1', 'f.yml', {}), /f\.yml is no YAML/);
  });
});

describe('commands against a running server', () => {
  test('prewarm, ls, inspect, stats, jobs', async () => {
    await using folder = await temporaryFolder();
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });
    upstream.add('library/app', image, '1');
    const file = join(folder.path, 'compose.yml');
    await writeFile(file, compose);

    const warmed = await run(mirror, 'prewarm', '-f', file);
    assert.deepEqual([warmed.exitCode, warmed.err], [0, '']);
    assert.match(warmed.out, /✓ succeeded; 1 of 1 images, 2 of 2 blobs/);
    const again = await run(mirror, 'prewarm', 'app:1', '--json');
    assert.equal((JSON.parse(again.out) as { state: string }).state, 'succeeded');
    const missing = await run(mirror, 'prewarm', 'app:2');
    assert.deepEqual(
      [missing.exitCode, missing.out.includes('✗ docker.io/library/app:2')],
      [1, true],
    );

    assert.match((await run(mirror, 'ls')).out, /REPOSITORY +TAGS\ndocker\.io\/library\/app +1/);
    const bytes = [image.manifest, image.config, ...image.layers].map((one) => one.bytes.length);
    const stored = size(bytes.reduce((sum, one) => sum + one));
    const listed = /PINNED\n1 +sha256:[0-9a-f]{12} +(.+?)  +just now +just now +(yes|no)$/m;
    const seen = listed.exec((await run(mirror, 'ls', 'app')).out)?.slice(1);
    assert.deepEqual(seen, [stored, 'no']);
    await run(mirror, 'pin', 'app:1');
    assert.equal(listed.exec((await run(mirror, 'ls', 'app')).out)?.[2], 'yes');
    assert.match(
      (await run(mirror, 'ls', 'app', '--history')).out,
      /1 +sha256:[0-9a-f]{12}.*just now/,
    );
    assert.equal((await run(mirror, 'ls', 'other')).exitCode, 1);
    const shown = await run(mirror, 'inspect', 'app:1');
    assert.match(
      shown.out,
      new RegExp(
        `^${image.manifest.digest}\nimage, .*; all of it is here\nlast used just now; pinned\n`,
      ),
    );

    await get(`${mirror.url}/v2/app/manifests/1`);
    const stats = await run(mirror, 'stats');
    assert.match(stats.out, /hit ratio +100\.0 %/);
    assert.match(stats.out, /docker\.io\/library\/app +1 /);
    const json = await run(mirror, 'stats', '--json');
    assert.equal((JSON.parse(json.out) as { requests: { total: number } }).requests.total, 1);

    const jobs = await run(mirror, 'jobs');
    assert.match(jobs.out, /JOB +SCHEDULE +NEXT +LAST\nprewarm +by hand/);
    const id = (JSON.parse(again.out) as { id: string }).id;
    assert.match(
      (await run(mirror, 'jobs', 'log', id.slice(0, 8))).out,
      /docker\.io\/library\/app:1: is here/,
    );
    const ended = await run(mirror, 'jobs', 'cancel', id);
    assert.deepEqual([ended.exitCode, /has ended already/.test(ended.err)], [1, true]);
  });

  test('client-config names this mirror and its upstreams in each client’s own words', async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({
      upstream,
      config: { upstreams: { 'ghcr.io': { urls: [upstream.url] } } },
    });
    const texts: [client: string, found: RegExp[]][] = [
      [
        'docker',
        [
          /"registry-mirrors": \[\n\s+"http:\/\/10\.0\.0\.5:5000"/,
          /docker pull 10\.0\.0\.5:5000\/ghcr\.io\//,
        ],
      ],
      [
        'containerd',
        [
          /certs\.d\/ghcr\.io\/hosts\.toml/,
          /\[host\."http:\/\/10\.0\.0\.5:5000"\]/,
          /registry-1\.docker\.io/,
        ],
      ],
      [
        'podman',
        [/prefix = "ghcr\.io"/, /location = "10\.0\.0\.5:5000\/ghcr\.io"\ninsecure = true/],
      ],
      ['crio', [/systemctl restart crio/]],
      ['buildkit', [/mirrors = \["10\.0\.0\.5:5000"\]/, /http = true/]],
      ['k3s', [/registries\.yaml/, /endpoint:\n\s+- "http:\/\/10\.0\.0\.5:5000"/]],
    ];
    for (const [client, found] of texts) {
      const { exitCode, out, err } = await run(
        mirror,
        'client-config',
        client,
        '-m',
        'http://10.0.0.5:5000',
      );
      assert.equal(exitCode, 0);
      for (const one of found) assert.match(`${out}${err}`, one, client);
    }
    assert.match(
      (await run(mirror, 'client-config', 'emacs')).err,
      /not one of docker, containerd/,
    );
  });

  test('stats --watch fits a terminal of 80 × 24, with its course as bars', async () => {
    await using upstream = await startScriptedRegistry();
    upstream.add('library/app', image, '1');
    const names = Array.from({ length: 30 }, (_, at) => `team/service-with-a-long-name-${at}`);
    for (const name of names) upstream.add(name, image, '1');
    await using mirror = await startMirror({ upstream });
    const over = new AbortController();
    const frames: string[] = [];

    await runCli(['stats', '--watch'], {
      env: { ENTREPOT_SERVER: mirror.adminUrl },
      stdout: {
        isTTY: true,
        columns: 80,
        rows: 24,
        write: (text) => {
          if (!text.includes('entrepot test')) return;
          frames.push(text);
          if (frames.length === 3) over.abort();
          else for (const name of names) void get(`${mirror.url}/v2/${name}/manifests/1`);
        },
      },
      stderr: { write: (text) => assert.fail(text) },
      serve: () => Promise.resolve(0),
      interrupted: over.signal,
    });

    assert.equal(frames.length, 3);
    // oxlint-disable-next-line no-control-regex -- what a terminal is told beside the text
    const shown = frames.map((frame) => frame.replace(/\u001B\[[\d;?]*[A-Za-z]/g, ''));
    for (const frame of shown) {
      const lines = frame.split('\r\n');
      assert.ok(lines.length <= 24, `${lines.length} lines`);
      for (const line of lines) assert.ok(line.length < 80, `${line.length}: ${line}`);
    }
    assert.match(shown.at(-1) ?? '', /served +[▁▂▃▄▅▆▇█]{2,} [\d.]+ [KM]?i?B\/s/);
    assert.match(shown.at(-1) ?? '', /IMAGE +PULLS/);
  });

  test('the help of every command has an example', async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });
    const { out } = await run(mirror, 'completion', 'bash');
    const commands = [...out.matchAll(/^ {4}"([^"]*)"\)/gm)].map(([, words = '']) => words);

    assert.ok(commands.length > 25, commands.join());
    for (const command of commands) {
      // help and completion's own words explain themselves.
      if (command === 'help') continue;
      const help = await run(mirror, ...command.split(' ').filter(Boolean), '--help');
      assert.match(help.out, /^Examples?:\n {2}.*\bentrepot /m, command);
    }
  });

  test('completion knows every command', async () => {
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { out } = await run(mirror, 'completion', shell);
      for (const word of ['stats', 'prewarm', 'client-config', 'cancel', 'watch']) {
        assert.ok(out.includes(word), `${shell}: ${word}`);
      }
    }
  });

  test('a command whose reader has gone ends without a word', async () => {
    const command = spawn(process.execPath, [mainPath, 'config', 'schema']);
    command.stdout.destroy();
    let err = '';
    command.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));

    const [exitCode] = await once(command, 'close');

    // 128 and the number of SIGPIPE, as of other programs.
    assert.deepEqual([exitCode, err], [141, '']);
  });
});

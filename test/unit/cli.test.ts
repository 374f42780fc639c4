import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { runCli } from '../../src/cli/program.ts';
import { parseConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
  readonly served: Config[];
}

async function run(
  argv: string[],
  env: Record<string, string> = {},
  serverExitCode = 0,
): Promise<Ran> {
  let out = '';
  let err = '';
  const served: Config[] = [];
  const exitCode = await runCli(argv, {
    env,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: (config) => {
      served.push(config);
      return Promise.resolve(serverExitCode);
    },
  });
  return { exitCode, out, err, served };
}

describe('entrepot', () => {
  test('serve hands the whole configuration to the server, and gives its exit code', async () => {
    const { exitCode, served } = await run(['serve'], { ENTREPOT_STORAGE_PATH: '/a' }, 1);

    assert.equal(exitCode, 1);
    assert.deepEqual(
      served.map(({ storage }) => storage.path),
      ['/a'],
    );
  });

  test('serve with a faulty configuration starts nothing, and says what is wrong', async () => {
    const { exitCode, err, served } = await run(['serve'], { ENTREPOT_STORAGE_MAXSIZE: 'big' });

    assert.equal(exitCode, 1);
    assert.deepEqual(served, []);
    assert.match(err, /^ENTREPOT_STORAGE_MAXSIZE: not a size: «big».*\n.*1 problem; nothing was/);
  });

  test('config check finds five faults at once: five lines, each with its place and what to write', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'wrong.yaml');
    await writeFile(
      file,
      `registry:
  listen: 5000
storage:
  maxsise: 20GiB
  minFree: plenty
upstreams:
  docker.io:
    username: me
admin:
  listen: 0.0.0.0:6001
`,
    );

    const { exitCode, err } = await run(['config', 'check', '--config', file]);

    const lines = err.trimEnd().split('\n');
    const summary = lines.pop() ?? '';
    const expected: [place: string, remedy: RegExp][] = [
      ['2:11 registry.listen', /write host:port, for example 0\.0\.0\.0:5000/],
      ['4:3 storage.maxsise', /did you mean maxSize\?/],
      ['5:12 storage.minFree', /write for example 50GiB/],
      ['8:15 upstreams.docker.io.username', /password is not; set both or neither/],
      ['10:11 admin.listen', /set admin\.token to \{ file: … \}/],
    ];
    assert.equal(exitCode, 1);
    assert.equal(lines.length, expected.length, err);
    for (const [at, [place, remedy]] of expected.entries()) {
      const line = lines[at] ?? '';
      assert.ok(line.startsWith(`${file}:${place}: `), line);
      assert.match(line, remedy);
    }
    assert.match(summary, /5 problems; nothing was started/);
  });

  test('config check names the file that it found correct', async () => {
    const file = new URL('../../config/entrepot.yaml', import.meta.url).pathname;
    const { exitCode, out } = await run(['config', 'check', '--config', file]);

    assert.equal(exitCode, 0);
    assert.equal(out, `${file} is correct.\n`);
  });

  test('config print prints a file that means the same, and no secret', async () => {
    const env = {
      ENTREPOT_UPSTREAMS_GHCR_IO_USERNAME: 'me',
      ENTREPOT_UPSTREAMS_GHCR_IO_PASSWORD_ENV: 'GHCR_PASSWORD',
      GHCR_PASSWORD: 'hunter2',
    };
    const { exitCode, out } = await run(['config', 'print'], env);

    assert.equal(exitCode, 0);
    assert.deepEqual(parseConfig(out, 'printed.yaml', {}), parseConfig('', '', env));
    assert.ok(!out.includes('hunter2'));
  });

  test('--version prints the version', async () => {
    const { exitCode, out } = await run(['--version']);

    assert.equal(exitCode, 0);
    assert.match(out, /^\d+\.\d+\.\d+\S*\n$/);
  });

  for (const argv of [['--help'], ['serve', '--help'], ['config', 'check', '--help']]) {
    test(`${argv.join(' ')} prints help with an example`, async () => {
      const { exitCode, out } = await run(argv);

      assert.equal(exitCode, 0);
      assert.match(out, /Examples?:\n {2}/);
    });
  }

  for (const argv of [
    [],
    ['srve'],
    ['serve', '--confg', 'x'],
    ['serve', 'x'],
    ['config'],
    ['serve', '-c'],
  ]) {
    test(`«${argv.join(' ')}» is a usage error`, async () => {
      const { exitCode, out, err, served } = await run(argv);

      assert.deepEqual({ exitCode, out, served }, { exitCode: 2, out: '', served: [] });
      assert.notEqual(err, '');
    });
  }
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { goodCertificate } from '../kit/certificates.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { until } from '../kit/wait-for.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const mainPath = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** Longer than any start; a process that hangs is killed then, and has no exit code. */
const patienceMs = 30_000;

/** Starts the mirror, and waits for its end. */
async function serve(
  settings: Readonly<Record<string, unknown>>,
): Promise<{ readonly exitCode: unknown; readonly stderr: string }> {
  await using folder = await temporaryFolder();
  const configPath = join(folder.path, 'entrepot.yaml');
  const config = {
    registry: { listen: '127.0.0.1:0' },
    admin: { listen: '127.0.0.1:0' },
    storage: { path: join(folder.path, 'storage') },
    ...settings,
  };
  await writeFile(configPath, JSON.stringify(config));
  const mirror = spawn(process.execPath, [mainPath, 'serve', '--config', configPath], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: patienceMs,
    killSignal: 'SIGKILL',
  });
  let stderr = '';
  mirror.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [exitCode] = (await once(mirror, 'close')) as unknown[];
  return { exitCode, stderr };
}

/** A port that somebody has. */
async function takenPort(): Promise<{ readonly address: string } & AsyncDisposable> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

for (const door of ['registry', 'admin']) {
  test(`a taken port of ${door}.listen is told in one line, and nothing was started`, async () => {
    await using taken = await takenPort();

    const { exitCode, stderr } = await serve({ [door]: { listen: taken.address } });

    assert.equal(
      stderr,
      `entrepot: ${door}.listen: ${taken.address} cannot be listened on: another process listens there; stop it, or choose another port; nothing was started.\n`,
    );
    assert.equal(exitCode, 1);
  });
}

test('an address that this machine does not have is told in one line', async () => {
  // TEST-NET-1 of RFC 5737.
  const { exitCode, stderr } = await serve({ registry: { listen: '192.0.2.1:5000' } });

  assert.match(
    stderr,
    /^entrepot: registry\.listen: 192\.0\.2\.1:5000 .* has no such address; .*\n$/,
  );
  assert.equal(exitCode, 1);
});

test('a storage folder that cannot be made is told in one line', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'file');
  await writeFile(file, 'no folder');

  const { exitCode, stderr } = await serve({ storage: { path: join(file, 'storage') } });

  assert.match(stderr, /^entrepot: the storage folder .* cannot be prepared .*storage\.path.*\n$/);
  assert.equal(exitCode, 1);
});

test('a storage folder that another process has is told in one line', async () => {
  await using folder = await temporaryFolder();
  await using mirror = await startEntrepotProcess({ config: { storage: { path: folder.path } } });

  const { exitCode, stderr } = await serve({ storage: { path: mirror.storagePath } });

  assert.match(stderr, /^entrepot: another process uses the storage folder .*storage\.path.*\n$/);
  assert.equal(exitCode, 1);
});

test('certificates and secrets that are not there are told all at once, with their places', async () => {
  const { exitCode, stderr } = await serve({
    registry: { listen: '127.0.0.1:0', tls: { cert: '/absent/crt', key: '/absent/key' } },
    admin: { listen: '127.0.0.1:0', token: { env: 'ENTREPOT_TEST_ABSENT' } },
    upstreams: { 'docker.io': { tls: { ca: '/absent/ca' } } },
  });

  const [last, ...lines] = stderr.trimEnd().split('\n').reverse();
  const told = lines.reverse().map((line) => line.replace(/^.*entrepot\.yaml:1:\d+ /, ''));
  const absent = 'cannot be read: it does not exist; put it there, or name another';
  assert.deepEqual(told, [
    `registry.tls.cert: the file /absent/crt ${absent}`,
    `registry.tls.key: the file /absent/key ${absent}`,
    'admin.token: the environment variable ENTREPOT_TEST_ABSENT should hold a secret, but is not set; set it, or name another place',
    `upstreams.docker.io.tls.ca: the file /absent/ca ${absent}`,
  ]);
  assert.match(last ?? '', /4 problems; nothing was started/);
  assert.equal(exitCode, 1);
});

test('a password of an upstream that is not there is told at the start, which goes on', async () => {
  const login = { username: 'me', password: { file: '/absent/password' } };

  await using mirror = await startEntrepotProcess({
    config: { upstreams: { 'docker.io': login } },
  });

  await until('the log to tell it', () =>
    /"setting":"upstreams\.docker\.io\.password".*\/absent\/password cannot be read/.test(
      mirror.output(),
    ),
  );
});

test('a certificate whose key is another one is told in one line', async () => {
  await using folder = await temporaryFolder();
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(folder.path, name));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(cert!, goodCertificate);
  await writeFile(key!, privateKey.export({ type: 'pkcs8', format: 'pem' }));

  const { exitCode, stderr } = await serve({
    registry: { listen: '127.0.0.1:0', tls: { cert, key } },
  });

  assert.equal(exitCode, 1);
  assert.match(
    stderr,
    /^entrepot: registry\.tls: .*cert\.pem and .*key\.pem cannot be used together.*\n$/,
  );
});

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeImage } from '../kit/images.ts';
import { findFreePort } from '../kit/program.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const password = 'correct-horse-battery';
const adminToken = 'open-sesame-token';
const image = makeImage({ seed: 'logged', layers: [30_000, 40_000] });

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test('no secret is in the log at its most talkative, nor in an answer, whatever fails', async () => {
  await using folder = await temporaryFolder();
  const passwordFile = join(folder.path, 'password');
  const tokenFile = join(folder.path, 'token');
  await writeFile(passwordFile, password);
  await writeFile(tokenFile, adminToken);
  const nobody = `127.0.0.1:${await findFreePort()}`;
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer', username: 'me', password },
    rules: [
      {
        when: { kind: 'blob', reference: image.layers[0]!.digest },
        do: { redirectTo: (path) => `http://${nobody}${path}?X-Amz-Signature=s1gnature` },
      },
      { when: { kind: 'manifest', reference: 'broken' }, do: { hangUp: true } },
    ],
  });
  upstream.add('library/app', image, '1');
  const admin = `127.0.0.1:${await findFreePort()}`;
  await using mirror = await startEntrepotProcess({
    config: {
      log: { level: 'trace' },
      admin: { listen: admin, token: { file: tokenFile } },
      upstreams: {
        'docker.io': {
          urls: [upstream.url],
          username: 'me',
          password: { file: passwordFile },
          redirectHosts: [nobody],
          timeouts: { connect: '1s' },
        },
        'wrong.test': {
          urls: [upstream.url],
          username: 'me',
          password: { env: 'WRONG_PASSWORD' },
          proxy: 'none',
        },
      },
    },
    env: { WRONG_PASSWORD: 'wr0ng-password', HTTPS_PROXY: 'http://proxy:pr0xy-login@127.0.0.1:9' },
  });
  const headers = { authorization: `Bearer ${adminToken}` };

  const shown = await Promise.all([
    get(`${mirror.url}/v2/app/manifests/1`, {
      headers: { authorization: `Basic ${base64('client:secret')}` },
    }),
    get(`${mirror.url}/v2/app/manifests/broken`),
    get(`${mirror.url}/v2/wrong.test/library/app/manifests/1`),
    ...image.layers.map(({ digest }) => get(`${mirror.url}/v2/app/blobs/${digest}`)),
    get(`http://${admin}/api/v1/stats`, { headers: { authorization: 'Bearer gu3ssed' } }),
  ]);
  const prewarm = await fetch(`http://${admin}/api/v1/prewarm`, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ images: ['app:1', 'wrong.test/library/app:1'] }),
  });
  const { id } = (await prewarm.json()) as { id: string };
  const run = `api/v1/runs/${id}`;
  await until('the run has met its first failure', async () => {
    const answer = await get(`http://${admin}/${run}`, { headers });
    return /attempt 2 follows/.test(answer.body.toString());
  });
  const told = await Promise.all(
    [
      run,
      'api/v1/runs',
      'api/v1/stats',
      'api/v1/upstreams',
      'api/v1/config',
      'api/v1/doctor',
      'metrics',
    ].map((path) => get(`http://${admin}/${path}`, { headers })),
  );
  await mirror.stop();

  assert.equal(shown[0]?.status, 200);
  assert.equal(
    told.every(({ status }) => status === 200),
    true,
  );
  const everything = [mirror.output(), ...[...shown, ...told].map(({ body }) => String(body))].join(
    '\n',
  );
  assert.match(everything, /upstream has answered/, 'the log is talkative');
  const secrets = [
    password,
    adminToken,
    'wr0ng-password',
    'pr0xy-login',
    's1gnature',
    'gu3ssed',
    base64(`me:${password}`),
    base64('me:wr0ng-password'),
    base64('client:secret'),
    'scripted-token',
  ];
  assert.deepEqual(
    secrets.filter((secret) => everything.includes(secret)),
    [],
  );
});

test('one line a request at info, with all that matters; the level is changed while it runs', async () => {
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startEntrepotProcess({
    config: { upstreams: { 'docker.io': { urls: [upstream.url], readAhead: false } } },
  });
  const lines = (): Record<string, unknown>[] =>
    mirror
      .output()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const requests = (): Record<string, unknown>[] =>
    lines().filter(({ msg, what }) => msg === 'request' && what !== 'ping');

  await get(`${mirror.url}/v2/app/manifests/1`);
  await get(`${mirror.url}/v2/app/blobs/${image.layers[0]!.digest}`);
  await until('two lines', () => requests().length === 2);

  const [manifest, blob] = requests();
  const { time, durationMs, ...facts } = manifest ?? {};
  assert.match(String(time), /^\d{4}-\d\d-\d\dT.*Z$/);
  assert.ok(Number(durationMs) > 0);
  assert.deepEqual(facts, {
    level: 30,
    upstream: 'docker.io',
    method: 'GET',
    what: 'manifest',
    repository: 'docker.io/library/app',
    reference: '1',
    status: 200,
    outcome: 'MISS',
    sentBytes: image.manifest.bytes.length,
    client: '127.0.0.1',
    aborted: false,
    msg: 'request',
  });
  assert.deepEqual(
    [blob?.['reference'], blob?.['sentBytes']],
    [image.layers[0]!.digest, image.layers[0]!.bytes.length],
  );

  const put = await fetch(`${mirror.adminUrl}/api/v1/log-level`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"level":"warn"}',
  });
  await get(`${mirror.url}/v2/app/manifests/1`);
  await get(`${mirror.url}/v2/app/manifests/%20`);
  await mirror.stop();

  assert.equal(put.status, 200);
  assert.equal(requests().length, 2);
});

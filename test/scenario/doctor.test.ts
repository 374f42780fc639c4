import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemDisk } from '../../src/store/disk.ts';
import type { Finding } from '../../src/base/finding.ts';
import { runCli } from '../../src/cli/program.ts';
import { examineTls } from '../../src/upstream/examination/connection.ts';
import {
  expiredCertificate,
  foreignCertificate,
  goodCertificate,
  testKey,
} from '../kit/certificates.ts';
import type { Rule } from '../kit/faults.ts';
import { makeImage } from '../kit/images.ts';
import { get } from '../kit/clients.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'doctor', layers: [1_000] });

interface Examined {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** `entrepot doctor`, as a person runs it beside a running server. */
async function doctor(server: string, ...options: string[]): Promise<Examined> {
  let out = '';
  let err = '';
  const exitCode = await runCli(['doctor', '--server', server, ...options], {
    env: {},
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.reject(new Error('not asked for')),
  });
  return { exitCode, out, err };
}

async function findingsOf(mirror: TestMirror): Promise<Finding[]> {
  const { out } = await doctor(mirror.app.adminUrl, '--json');
  return (JSON.parse(out) as { findings: Finding[] }).findings;
}

function of(findings: readonly Finding[], check: string): Finding | undefined {
  return findings.find((finding) => finding.check === check);
}

test('a mirror that is well: every check says what was seen, exit code 0', async () => {
  const quota = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600' };
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer' },
    rules: [{ when: { kind: 'manifest' }, do: { headers: quota } }],
  });
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/library/app/manifests/1`);
  const pulls = upstream.count({ kind: 'manifest', method: 'GET' });

  const { exitCode, out } = await doctor(mirror.app.adminUrl);

  assert.equal(exitCode, 0, out);
  assert.match(out, /^ok +disk .*written, synced, read and removed 256 KiB/m);
  assert.match(out, /^ok +space .*free/m);
  assert.match(out, /^ok +clock .*same time/m);
  assert.match(out, /^ok +tls .*on loopback/m);
  assert.match(out, /^ok +api .*\/v2\/ answered 401 .* wants a token from 127\.0\.0\.1/m);
  assert.match(out, /^ok +head +docker\.io: HEAD of library\/app:1 without a login answered/m);
  assert.match(out, /^ok +quota +docker\.io: 76 of 100 pulls in 6 h left/m);
  assert.match(out, /^Nothing failed; 0 warnings\.$/m);
  assert.equal(upstream.count({ kind: 'manifest', method: 'GET' }), pulls);
});

test('a wrong password, a secret in no line: what to mend, exit code 1', async () => {
  await using upstream = await startScriptedRegistry({
    auth: { kind: 'bearer', username: 'me', password: 'right' },
  });
  const password = { file: new URL('../kit/certificates.ts', import.meta.url).pathname };
  await using mirror = await startMirror({ upstream, settings: { username: 'me', password } });

  const { exitCode, out } = await doctor(mirror.app.adminUrl);

  assert.equal(exitCode, 1);
  assert.match(out, /^FAILED +head .*refuses our login/m);
  assert.match(out, /→ check username and password of this upstream/);
  assert.doesNotMatch(out, /PRIVATE KEY|localhost/);
});

const sick: [name: string, rules: Rule[], check: string, seen: RegExp, mend: RegExp][] = [
  [
    'a page in place of a registry',
    [{ do: { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' } }],
    'api',
    /with a web page/,
    /this is no registry/,
  ],
  ['a URL without an API', [{ do: { status: 404 } }], 'api', /404/, /check the path in urls/],
  ['a registry that fails', [{ do: { status: 502 } }], 'api', /502/, /the registry itself fails/],
  ['a connection that is cut', [{ do: { hangUp: true } }], 'api', /cannot be reached/, /TLS off/],
  [
    'a clock that is an hour behind',
    [{ do: { headers: { date: new Date(Date.now() + 3_600_000).toUTCString() } } }],
    'clock',
    /is 3[56]\d\d s behind the upstreams/,
    /NTP/,
  ],
  [
    'a limit',
    [{ when: { kind: 'manifest' }, do: { status: 429 } }],
    'head',
    /limits our requests \(429\)/,
    /a login with a higher limit/,
  ],
];

for (const [name, rules, check, seen, mend] of sick) {
  test(`${name} is found, with what to mend`, async () => {
    await using upstream = await startScriptedRegistry({ rules });
    await using mirror = await startMirror({ upstream });

    const finding = of(await findingsOf(mirror), check);

    assert.equal(finding?.state, 'failed');
    assert.match(finding.seen, seen);
    assert.match(finding.mend ?? '', mend);
  });
}

test('an upstream that is down, and one that is offline', async () => {
  await using upstream = await startScriptedRegistry();
  const offline = { urls: ['https://offline.invalid'], offline: true };
  await using mirror = await startMirror({
    upstream,
    config: { upstreams: { 'offline.test': offline } },
  });
  await upstream.stop();

  const findings = await findingsOf(mirror);

  assert.match(of(findings, 'api')?.mend ?? '', /nothing listens there/);
  assert.equal(of(findings, 'head'), undefined);
  assert.equal(of(findings, 'upstream')?.state, 'skipped');
  assert.match(of(findings, 'upstream')?.seen ?? '', /offline/);
});

test('a disk that takes nothing is found, and said to whoever asks', async () => {
  await using upstream = await startScriptedRegistry();
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  let isFull = false;
  const disk = {
    ...systemDisk,
    open: (path: string, flags: 'r' | 'wx+') =>
      isFull ? Promise.reject(full) : systemDisk.open(path, flags),
  };
  await using mirror = await startMirror({ upstream, disk });
  isFull = true;

  const finding = of(await findingsOf(mirror), 'disk');

  assert.equal(finding?.state, 'failed');
  assert.match(finding.seen, /no space left on device/);
  assert.match(finding.mend ?? '', /passed through uncached/);
});

test('certificates: trusted, not trusted, ended, of another name, and insecure', async () => {
  const examine = async (cert: string, ca?: string, insecure = false): Promise<Finding> => {
    const server = createServer({ key: testKey, cert }, (_request, response) => response.end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const files = ca === undefined ? { insecure } : { ca, insecure };
    const url = new URL(`https://127.0.0.1:${port}`);
    const found = await examineTls(url, () => Promise.resolve(files), Date.now());
    server.close();
    await once(server, 'close');
    return found;
  };

  const trusted = await examine(goodCertificate, goodCertificate);
  const stranger = await examine(goodCertificate);
  const ended = await examine(expiredCertificate, expiredCertificate);
  const foreign = await examine(foreignCertificate, foreignCertificate);
  const unchecked = await examine(goodCertificate, undefined, true);

  assert.deepEqual([trusted.state, trusted.mend], ['ok', undefined]);
  assert.match(trusted.seen, /TLSv1\.3, a certificate by Entrepot tests until .* 2126/);
  assert.match(stranger.mend ?? '', /set tls\.ca/);
  assert.match(ended.mend ?? '', /check this machine’s clock/);
  assert.match(foreign.mend ?? '', /for another name/);
  assert.deepEqual(
    [stranger.state, ended.state, foreign.state, unchecked.state],
    ['failed', 'failed', 'failed', 'warning'],
  );
});

test('a name that is nobody’s', async () => {
  await using upstream = await startScriptedRegistry();
  const nowhere = { urls: ['https://nowhere.invalid'] };
  await using mirror = await startMirror({
    upstream,
    config: { upstreams: { 'nowhere.invalid': nowhere } },
  });

  const finding = of(await findingsOf(mirror), 'dns');

  assert.equal(finding?.state, 'failed');
  assert.match(finding.mend ?? '', /resolver of this machine/);
});

test('without a server, and with one that wants its token, the command says what to do', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'token');
  await writeFile(file, 'the-admin-token\n');
  await using upstream = await startScriptedRegistry();
  const admin = { listen: '127.0.0.1:0', token: { file } };
  await using mirror = await startMirror({ upstream, config: { admin } });
  const { adminUrl } = mirror.app;

  const refused = await doctor(adminUrl);
  const allowed = await doctor(adminUrl, '--token-file', file);
  const noToken = await doctor(adminUrl, '--token-file', import.meta.filename);
  await upstream.stop();
  const nobody = await doctor(upstream.url);

  assert.equal(refused.exitCode, 1);
  assert.match(refused.err, /asks for its admin token: .*--token-file/);
  assert.equal(allowed.exitCode, 0, allowed.err + allowed.out);
  assert.match(noToken.err, /there is no token in .*one line/);
  assert.equal(nobody.exitCode, 1);
  assert.match(nobody.err, /no server answers at .*ECONNREFUSED.*entrepot serve.*--server/);
});

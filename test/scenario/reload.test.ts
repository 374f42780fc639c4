import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { parseConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { foreignCertificate, goodCertificate, testKey } from '../kit/certificates.ts';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob, makeImage } from '../kit/images.ts';
import { findFreePort } from '../kit/program.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;
const image = makeImage({ seed: 'reload', layers: [40_000] });

type Settings = Record<string, unknown>;

/** The configuration of a test's mirror, with other settings at its root. */
function configOf(mirror: TestMirror, settings: Settings): Config {
  const base = {
    registry: { listen: '127.0.0.1:0' },
    admin: { listen: '127.0.0.1:0' },
    storage: { path: mirror.storagePath, minFree: '0' },
  };
  return parseConfig(JSON.stringify({ ...base, ...settings }), 'test.yaml', {});
}

async function adminJson<T>(of: { readonly adminUrl: string }, path: string): Promise<T> {
  const answer = await fetch(`${of.adminUrl}/api/v1/${path}`);
  assert.equal(answer.status, 200, path);
  return (await answer.json()) as T;
}

test('another configuration is taken by a running mirror: upstreams, policies, rules; what runs goes on', async () => {
  await using upstream = await startScriptedRegistry({ rateBytesPerSecond: 8 * mib });
  await using other = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  other.add('org/app', image, '1');
  const blob = makeBlob('goes on', 6 * mib);
  upstream.addBlob('library/app', blob);
  await using mirror = await startMirror({ upstream, settings: { tagTtl: '0s' } });
  const running = get(`${mirror.url}/v2/app/blobs/${blob.digest}`);
  await mirror.observed('fill-started');
  assert.equal((await get(`${mirror.url}/v2/other.test/org/app/manifests/1`)).status, 404);

  const reloaded = await mirror.app.reload(
    configOf(mirror, {
      storage: { path: mirror.storagePath, minFree: '0', maxSize: '1GiB' },
      upstreams: {
        'docker.io': { urls: [upstream.url], tagTtl: '1h' },
        'other.test': { urls: [other.url] },
      },
      prewarm: [{ name: 'new', images: ['docker.io/library/app:1'], schedule: '0 3 * * *' }],
    }),
  );
  const added = await get(`${mirror.url}/v2/other.test/org/app/manifests/1`);
  for (let pulls = 0; pulls < 3; pulls += 1) await get(`${mirror.url}/v2/app/manifests/1`);
  const body = await running;

  const told = reloaded.inEffect.map(({ setting, from, to }) => [setting, from, to].join(' '));
  assert.deepEqual(told.sort(), [
    'prewarm.new  added',
    'storage.maxSize 50GiB 1GiB',
    'upstreams.docker.io.tagTtl 0s 1h',
    'upstreams.other.test  added',
  ]);
  assert.deepEqual(reloaded.atRestart, []);
  assert.equal(added.digest, image.manifest.digest);
  assert.equal(upstream.count({ kind: 'manifest' }), 1, 'the tag is fresh for an hour');
  assert.deepEqual([body.complete, body.digest], [true, blob.digest]);
  const { items } = await adminJson<{ items: { name: string }[] }>(mirror, 'jobs');
  assert.ok(items.some(({ name }) => name === 'prewarm:new'));
  const stats = await adminJson<{ disk: { maxBytes: number } }>(mirror, 'stats');
  assert.equal(stats.disk.maxBytes, 1024 * mib);

  await mirror.app.reload(
    configOf(mirror, { upstreams: { 'docker.io': { urls: [upstream.url] } } }),
  );
  assert.equal((await get(`${mirror.url}/v2/other.test/org/app/manifests/1`)).status, 404);
  const after = await adminJson<{ items: { name: string }[] }>(mirror, 'jobs');
  assert.ok(!after.items.some(({ name }) => name === 'prewarm:new'));
});

test('an upstream whose settings are the same keeps what it knows; offline counts at once', async () => {
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startMirror({ upstream, settings: { readAhead: false } });
  await get(`${mirror.url}/v2/app/manifests/1`);
  const upstreams = { 'docker.io': { urls: [upstream.url], readAhead: false } };
  const pulls = async (): Promise<unknown[]> => {
    const { items } = await adminJson<{ items: { state: string; quotas: { pulls: number }[] }[] }>(
      mirror,
      'upstreams',
    );
    return [items[0]?.state, items[0]?.quotas[0]?.pulls];
  };

  await mirror.app.reload(configOf(mirror, { upstreams, log: { level: 'warn' } }));
  assert.deepEqual(await pulls(), ['up', 1]);
  await mirror.app.reload(configOf(mirror, { upstreams, offline: true }));
  const before = upstream.requests.length;
  const missing = await get(`${mirror.url}/v2/app/manifests/2`);

  assert.equal((await pulls())[0], 'offline');
  assert.equal(missing.status, 503);
  assert.equal(upstream.requests.length, before);
});

test('rules of a site are taken while it runs: a new one copies, a changed one goes on, a removed one ends', async () => {
  await using upstream = await startScriptedRegistry();
  for (const name of ['kept', 'added', 'gone']) upstream.add(`library/${name}`, image, '1');
  await using primary = await startMirror({ upstream });
  const rule = (name: string, more: Settings = {}): Settings => ({
    name,
    repositories: [`docker.io/library/${name}`],
    ...more,
  });
  const siteOf = (...sync: Settings[]): Settings => ({
    upstreams: { 'docker.io': { urls: [upstream.url] } },
    site: { name: 'here', primary: { url: primary.url, admin: primary.adminUrl }, sync },
  });
  await using site = await startMirror({
    upstream,
    config: siteOf(rule('kept'), rule('gone')),
  });
  const copied = async (job: string, runs: number): Promise<void> => {
    await until(`${job} to have copied`, () => {
      const events = site.observedOf('run-changed');
      return events.filter((one) => one.job === job && one.state === 'succeeded').length >= runs;
    });
  };
  await Promise.all([copied('sync:kept', 1), copied('sync:gone', 1)]);

  const config = configOf(site, siteOf(rule('kept', { referrers: true }), rule('added')));
  const { inEffect, atRestart } = await site.app.reload(config);
  await copied('sync:added', 1);
  for (const name of ['kept', 'added', 'gone']) {
    await get(`${primary.url}/v2/library/${name}/manifests/1`);
  }
  await Promise.all([copied('sync:kept', 2), copied('sync:added', 2)]);
  const { items } = await adminJson<{ items: { name: string }[] }>(site, 'repositories');
  const moved = await site.app.reload(configOf(site, { ...siteOf(), site: undefined }));

  assert.deepEqual(inEffect.map(({ setting, to }) => `${setting} ${to}`).sort(), [
    'site.sync.added added',
    'site.sync.gone removed',
    'site.sync.kept.referrers true',
  ]);
  assert.deepEqual(atRestart, []);
  assert.deepEqual(
    items.map(({ name }) => name),
    ['docker.io/library/added', 'docker.io/library/kept'],
  );
  const told = moved.atRestart.map(({ setting }) => setting);
  assert.ok(told.includes('site.primary.url'), told.join());
});

test('a configuration of which one part cannot be built changes nothing', async () => {
  await using upstream = await startScriptedRegistry();
  await using other = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startMirror({ upstream, config: { site: { name: 'here' } } });
  const next = configOf(mirror, {
    storage: { path: mirror.storagePath, minFree: '0', maxSize: '1GiB' },
    upstreams: { 'docker.io': { urls: [other.url] } },
    prewarm: [{ name: 'new', images: ['docker.io/library/app:1'] }],
    site: { name: 'here', push: [{ name: 'out', url: other.url, repositories: ['**'] }] },
  });
  const { storage, site } = next;
  const cannotBe: [Config, RegExp][] = [
    [
      { ...next, storage: { ...storage, verify: { ...storage.verify, scrub: '61 3 * * *' } } },
      /the job scrub cannot be scheduled: «61 3 \* \* \*» is no schedule/,
    ],
    [{ ...next, site: { ...site!, push: [{ ...site!.push[0]!, repositories: [''] }] } }, /pattern/],
  ];
  const before = await adminJson<{ items: unknown[] }>(mirror, 'jobs');

  for (const [config, expected] of cannotBe) {
    await assert.rejects(mirror.app.reload(config), expected);
  }

  const pulled = await get(`${mirror.url}/v2/app/manifests/1`);
  assert.equal(pulled.digest, image.manifest.digest);
  assert.equal(other.requests.length, 0);
  const { disk } = await adminJson<{ disk: { maxBytes: number } }>(mirror, 'stats');
  assert.equal(disk.maxBytes, 50 * 1024 * mib);
  assert.deepEqual((await adminJson<{ items: unknown[] }>(mirror, 'jobs')).items, before.items);
  const { yaml } = await adminJson<{ yaml: string }>(mirror, 'config');
  assert.ok(!yaml.includes(other.url), 'what is shown is what is in effect');
});

/** The names in the certificate that a new connection is shown. */
async function namesShown(url: string): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const { hostname: host, port } = new URL(url);
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
    resolve(socket.getPeerX509Certificate()?.subjectAltName);
  }).once('error', reject);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

test('a renewed certificate is shown to new connections; one that cannot be used changes nothing', async () => {
  await using folder = await temporaryFolder();
  const [cert, key] = [join(folder.path, 'tls.crt'), join(folder.path, 'tls.key')];
  await writeFile(cert, goodCertificate);
  await writeFile(key, testKey);
  await using upstream = await startScriptedRegistry();
  const registry = { listen: '127.0.0.1:0', tls: { cert, key } };
  await using mirror = await startMirror({ upstream, config: { registry } });
  const config = configOf(mirror, {
    registry,
    upstreams: { 'docker.io': { urls: [upstream.url] } },
  });
  const before = await namesShown(mirror.url);

  await writeFile(cert, foreignCertificate);
  await mirror.app.reload(config);
  const renewed = await namesShown(mirror.url);
  await writeFile(cert, 'half a certificate');
  const refused = mirror.app.reload(
    configOf(mirror, { registry, upstreams: { 'docker.io': { urls: ['http://127.0.0.1:1'] } } }),
  );

  await assert.rejects(refused, /registry\.tls: .*tls\.crt and .*tls\.key cannot be used together/);
  assert.match(before ?? '', /localhost/);
  assert.match(renewed ?? '', /other\.test/);
  assert.match((await namesShown(mirror.url)) ?? '', /other\.test/);
  const { yaml } = await adminJson<{ yaml: string }>(mirror, 'config');
  assert.ok(yaml.includes(upstream.url), 'nothing else of it was taken either');
});

/** Rewrites the file as an editor does. */
async function rewrite(mirror: EntrepotProcess, change: (config: Settings) => void): Promise<void> {
  const config = JSON.parse(await readFile(mirror.configPath, 'utf8')) as Settings;
  change(config);
  const file = `${mirror.configPath}.new`;
  await writeFile(file, JSON.stringify(config, undefined, 2));
  await rename(file, mirror.configPath);
}

test('a change of the file is taken by itself, told setting by setting; a faulty one changes nothing', async () => {
  await using folder = await temporaryFolder();
  const tokenFile = join(folder.path, 'token');
  await writeFile(tokenFile, 'first\n');
  await using upstream = await startScriptedRegistry();
  upstream.add('library/app', image, '1');
  await using mirror = await startEntrepotProcess({
    config: {
      admin: { listen: `127.0.0.1:${await findFreePort()}`, token: { file: tokenFile } },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
  });
  const metrics = async (token: string): Promise<string> => {
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(`${mirror.adminUrl}/metrics`, { headers })).text();
  };
  const said = (text: string): Promise<true> =>
    until(`the log to say ${text}`, () => mirror.output().includes(text));

  await rewrite(mirror, (config) => {
    config['log'] = { level: 'debug' };
    config['registry'] = { listen: '127.0.0.1:1' };
  });
  await said('"setting":"log.level","from":"info","to":"debug","isInEffect":true');
  await said('"setting":"registry.listen"');
  await said('a setting has changed that takes a restart');

  await rewrite(mirror, (config) => {
    config['log'] = { level: 'loud' };
    config['upstream'] = {};
    config['storage'] = { maxSize: 'much' };
  });
  await said('one of trace, debug, info, warn, error');
  await said('did you mean upstreams?');
  await said('storage.maxSize');
  assert.equal((await get(`${mirror.url}/v2/app/manifests/1`)).status, 200);
  assert.match(await metrics('first'), /entrepot_events_total\{event="config-refused"\} 3/);

  await rewrite(mirror, (config) => {
    config['log'] = { level: 'info' };
    config['storage'] = { path: mirror.storagePath };
    delete config['upstream'];
  });
  await said('"from":"debug","to":"info"');
  await writeFile(tokenFile, 'second\n');
  await said('"setting":"admin.token"');
  assert.match(await metrics('first'), /token is missing or wrong/);
  assert.match(await metrics('second'), /entrepot_events_total/);
  process.kill(mirror.pid, 'SIGHUP');
  await said('"trigger":"signal"');
});

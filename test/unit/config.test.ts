import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { loadConfig, parseConfig, readSecret } from '../../src/config/load.ts';
import { printConfig } from '../../src/config/print.ts';
import { allSettings } from '../../src/config/shape.ts';

const configFolder = new URL('../../config/', import.meta.url);

async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'entrepot-config-'));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}

describe('defaults', () => {
  for (const yaml of [
    '',
    '\n',
    '# nothing\n',
    '---\n',
    'storage:\n',
    '{}',
    'upstreams:\nsite:\n',
  ]) {
    test(`${JSON.stringify(yaml)} means the defaults`, () => {
      assert.deepEqual(parseConfig(yaml, 'entrepot.yaml', {}), parseConfig('', '', {}));
    });
  }

  test('are those of the design', () => {
    const { upstreams, ...rest } = parseConfig('', '', {});

    assert.deepEqual(rest, {
      registry: { listen: { host: '0.0.0.0', port: 5000 }, shutdownTimeoutMs: 10_000 },
      admin: { listen: { host: '127.0.0.1', port: 5001 } },
      storage: {
        path: './data',
        maxSizeBytes: 50 * 1024 ** 3,
        minFree: { share: 0.05 },
        lowWatermarkShare: 0.9,
        eviction: 'lru',
        gc: { schedule: '0 5 * * 0', untaggedMs: 30 * 24 * 60 * 60 * 1000 },
        verify: { scrub: '0 4 * * 0', scrubRateBytesPerSecond: 50 * 1024 ** 2, onRead: 'crc' },
      },
      defaultUpstream: 'docker.io',
      offline: false,
      blobUnavailable: 404,
      staleIncomplete: 'refuse',
      log: { level: 'info', format: 'auto' },
      prewarm: [],
    });
    assert.deepEqual(
      [...upstreams.values()].map(({ name, urls }) => `${name} ${urls.join(' ')}`),
      [
        'docker.io https://registry-1.docker.io',
        'ghcr.io https://ghcr.io',
        'quay.io https://quay.io',
        'gcr.io https://gcr.io',
        'registry.k8s.io https://registry.k8s.io',
        'mcr.microsoft.com https://mcr.microsoft.com',
        'public.ecr.aws https://public.ecr.aws',
        'nvcr.io https://nvcr.io',
      ],
    );
    assert.deepEqual(upstreams.get('ghcr.io'), {
      name: 'ghcr.io',
      urls: ['https://ghcr.io'],
      tagTtlMs: 60_000,
      maxStaleMs: Infinity,
      onGone: 'serve',
      onDenied: 'deny',
      negativeTtlMs: 30_000,
      readAhead: true,
      connectionsPerBlob: 4,
      maxConnections: 32,
      bandwidthBytesPerSecond: 0,
      requestsPerSecond: 0,
      minRateBytesPerSecond: 1024,
      timeouts: { connectMs: 5000, headersMs: 20_000, idleMs: 30_000, revalidateMs: 2500 },
      offline: false,
      authHosts: [],
      redirectHosts: [],
      sendNamespace: false,
    });
  });

  test('are what the default file says', async () => {
    const file = new URL('entrepot.yaml', configFolder);
    const yaml = await readFile(file, 'utf8');

    assert.deepEqual(parseConfig(yaml, 'entrepot.yaml', {}), parseConfig('', '', {}));
  });
});

describe('the default file', () => {
  test('loads with everything in it switched on, and then names every setting', async () => {
    const yaml = await readFile(new URL('entrepot.yaml', configFolder), 'utf8');
    const switchedOn = yaml.replace(/^( *)#(?=\S|  )/gm, '$1');

    const printed = printConfig(parseConfig(switchedOn, 'entrepot.yaml', {}));

    const keys = new Set(printed.match(/[a-zA-Z]+(?=:(?:\s|$))/gm));
    // Of these only one is allowed at a time: a secret's file or variable, a login's place.
    const others = new Set(['env', 'dockerConfig', 'credentialHelper']);
    const missing = allSettings().filter(
      ({ path }) => !others.has(path.at(-1)!) && !keys.has(path.at(-1)!),
    );
    assert.deepEqual(missing, []);
    assert.equal(printConfig(parseConfig(printed, 'printed.yaml', {})), printed);
  });

  test('and every example load without a fault', async () => {
    const names = await readdir(new URL('examples/', configFolder));
    for (const name of names) {
      const yaml = await readFile(new URL(`examples/${name}`, configFolder), 'utf8');

      parseConfig(yaml, name, {});
    }
  });
});

describe('values', () => {
  test('units come out in milliseconds, bytes and shares', () => {
    const { storage, upstreams } = parseConfig(
      'storage: { maxSize: 2g, minFree: 10GB, lowWatermark: 82.5% }\nupstreams: { docker.io: { tagTtl: 1h30m, maxStale: 7d, bandwidth: 20MiB/s, timeouts: { idle: 1m } } }',
      'entrepot.yaml',
      {},
    );

    const hub = upstreams.get('docker.io');
    assert.equal(storage.maxSizeBytes, 2 * 1024 ** 3);
    assert.deepEqual(storage.minFree, { bytes: 10_000_000_000 });
    assert.equal(storage.lowWatermarkShare, 0.825);
    assert.equal(hub?.tagTtlMs, 5_400_000);
    assert.equal(hub?.maxStaleMs, 604_800_000);
    assert.equal(hub?.bandwidthBytesPerSecond, 20 * 1024 ** 2);
    assert.equal(hub?.timeouts.idleMs, 60_000);
    assert.equal(hub?.timeouts.connectMs, 5000);
  });

  test('text stays the text it is, whatever it looks like', () => {
    const yaml =
      'upstreams: { docker.io: { username: 0123, password: { env: NO } } }\nstorage: { path: true }';
    const { upstreams, storage } = parseConfig(yaml, 'entrepot.yaml', {});

    assert.equal(upstreams.get('docker.io')?.username, '0123');
    assert.deepEqual(upstreams.get('docker.io')?.password, { env: 'NO' });
    assert.equal(storage.path, 'true');
  });

  test('fewer connections in all mean fewer for one blob', () => {
    const { upstreams } = parseConfig('upstreams: { ghcr.io: { maxConnections: 2 } }', 'f', {});

    assert.equal(upstreams.get('ghcr.io')?.connectionsPerBlob, 2);
  });

  test('addresses may be IPv6, a name, or a port alone for all of IPv4', () => {
    const listens = ['[::1]:5005', 'localhost:0', ':80'].map(
      (text) => parseConfig(`registry: { listen: "${text}" }`, 'f', {}).registry.listen,
    );

    assert.deepEqual(listens, [
      { host: '::1', port: 5005 },
      { host: 'localhost', port: 0 },
      { host: '0.0.0.0', port: 80 },
    ]);
  });

  test('anchors and merge keys share settings between upstreams', () => {
    const { upstreams } = parseConfig(
      'upstreams:\n  docker.io: &hub { tagTtl: 5m }\n  ghcr.io: *hub\n  quay.io: { <<: *hub, offline: true }\n',
      'entrepot.yaml',
      {},
    );

    assert.deepEqual(
      [...upstreams.values()].map(({ tagTtlMs, offline }) => [tagTtlMs, offline]),
      [
        [300_000, false],
        [300_000, false],
        [300_000, true],
      ],
    );
  });
});

describe('upstreams', () => {
  test('those that are named replace the built-in ones', () => {
    const { upstreams } = parseConfig('upstreams:\n  docker.io:\n  Quay.io:\n', 'f', {});

    assert.deepEqual([...upstreams.keys()], ['docker.io', 'quay.io']);
  });

  test('an alias of Docker Hub is docker.io', () => {
    const config = parseConfig(
      'upstreams: { index.docker.io: {} }\ndefaultUpstream: registry-1.docker.io',
      'f',
      {},
    );

    assert.deepEqual([...config.upstreams.keys()], ['docker.io']);
    assert.deepEqual(config.upstreams.get('docker.io')?.urls, ['https://registry-1.docker.io']);
    assert.equal(config.defaultUpstream, 'docker.io');
  });

  test('the only one is the default one', () => {
    assert.equal(parseConfig('upstreams: { ghcr.io: {} }', 'f', {}).defaultUpstream, 'ghcr.io');
  });

  test('a URL may have a path, and loses its last slash', () => {
    const yaml = 'upstreams: { "hub.lan:5000": { urls: ["http://hub.lan:5000/proxy/"] } }';

    assert.deepEqual(parseConfig(yaml, 'f', {}).upstreams.get('hub.lan:5000')?.urls, [
      'http://hub.lan:5000/proxy',
    ]);
  });
});

describe('files', () => {
  test('the one that is named counts, else ENTREPOT_CONFIG, else none', async () => {
    await using folder = await temporaryFolder();
    const [named, other] = [join(folder.path, 'a.yaml'), join(folder.path, 'b.yaml')];
    await writeFile(named, 'log: { level: warn }');
    await writeFile(other, 'log: { level: error }');

    const env = { ENTREPOT_CONFIG: other };
    const levels = await Promise.all(
      [{ file: named, env }, { env }, { env: {} }].map(async (source) => {
        return (await loadConfig(source)).log.level;
      }),
    );

    assert.deepEqual(levels, ['warn', 'error', 'info']);
  });

  test('one that is not there is told by name', async () => {
    await assert.rejects(loadConfig({ file: '/no/such.yaml', env: {} }), {
      name: 'ConfigError',
      message: '/no/such.yaml: the configuration file cannot be read: it does not exist',
    });
  });

  test('a secret is read from its file or variable when it is used, without the last newline', async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, 'password');
    await writeFile(file, 'pass word \n');

    assert.equal(await readSecret({ file }, {}), 'pass word ');
    assert.equal(await readSecret({ env: 'HUB' }, { HUB: 'pw' }), 'pw');
  });

  test('a secret that is not there is told by its place', async () => {
    await assert.rejects(readSecret({ env: 'HUB' }, {}), {
      message: 'the environment variable HUB should hold a secret, but is not set',
    });
    await assert.rejects(readSecret({ file: '/no/such' }, {}), {
      message: '/no/such: the file of a secret cannot be read: it does not exist',
    });
  });
});

test('what clients pull most may stand without a list', () => {
  const lonely = 'prewarm: { popular: { top: 20, every: 5m } }';
  const listed = 'prewarm: [{ name: popular, popular: { top: 20, every: 5m } }]';

  assert.deepEqual(parseConfig(lonely, '', {}).prewarm, parseConfig(listed, '', {}).prewarm);
  assert.throws(
    () => parseConfig('prewarm:\n  popular:\n    top: many', 'a.yaml', {}),
    /a\.yaml:3:/,
  );
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError, parseConfig } from '../../src/config/load.ts';
import { nextTime } from '../../src/schedule/cron.ts';

/** The message of the ConfigError, a line a problem. */
function faultsOf(yaml: string, env: Record<string, string> = {}): string[] {
  try {
    parseConfig(yaml, 'entrepot.yaml', env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
  return [];
}

describe('faults', () => {
  const faults: [what: string, yaml: string, expected: RegExp][] = [
    [
      'a misspelt key',
      'storage:\n  maxsise: 1g',
      /^entrepot\.yaml:2:3 storage\.maxsise: .*did you mean maxSize\?$/,
    ],
    [
      'a misspelt section',
      'storge:\n  path: x',
      /^entrepot\.yaml:1:1 storge: .*did you mean storage\?$/,
    ],
    [
      'a key of another case',
      'upstreams:\n  a.io: { tagTTL: 1m }',
      /:2:11 upstreams\.a\.io\.tagTTL: .*did you mean tagTtl\?$/,
    ],
    [
      'a key at the wrong place',
      'tagTtl: 1m',
      /:1:1 tagTtl: .*its place is upstreams\.<name>\.tagTtl$/,
    ],
    [
      'a key that nothing resembles',
      'log: { colour: red }',
      /:1:8 log\.colour: no setting has this name; here there can be level, format$/,
    ],
    [
      'a bad duration',
      'upstreams:\n  docker.io:\n    tagTtl: soon',
      /^entrepot\.yaml:3:13 upstreams\.docker\.io\.tagTtl: not a duration: «soon»; write for example 90s/,
    ],
    ['a bad size', 'storage:\n  maxSize: big', /:2:12 storage\.maxSize: not a size: «big»/],
    ['a bad share', 'storage: { minFree: 101% }', /:1:21 storage\.minFree: not a share: «101%»/],
    [
      'a watermark that is no share',
      'storage: { lowWatermark: 40g }',
      /:1:26 storage\.lowWatermark: not a share/,
    ],
    [
      'a value that is not one of a few',
      'blobUnavailable: 500',
      /:1:18 blobUnavailable: it is one of 404, 503, not «500»$/,
    ],
    [
      'a flag that is no flag',
      'upstreams: { docker.io: { readAhead: yes } }',
      /readAhead: neither true nor false: «yes»$/,
    ],
    [
      'a number out of range',
      'upstreams: { docker.io: { maxConnections: 0 } }',
      /maxConnections: not a whole number from 1 to 1024: «0»$/,
    ],
    [
      'a timeout that a timer cannot hold',
      'upstreams: { docker.io: { timeouts: { idle: 30d } } }',
      /idle: a timeout is from 1ms to 1h, not «30d»$/,
    ],
    [
      'an address without a port',
      'registry: { listen: localhost }',
      /:1:21 registry\.listen: not an address/,
    ],
    ['a port that is none', 'registry: { listen: "a:70000" }', /registry\.listen: not an address/],
    [
      'a section that is a value',
      'storage: /data',
      /:1:10 storage: it is a section with keys of its own, not the single value «\/data»$/,
    ],
    [
      'a value that is a list',
      'storage:\n  path: [a]',
      /:2:3 storage\.path: it is a single value, not a list$/,
    ],
    [
      'a list that is a value',
      'upstreams: { docker.io: { urls: "https://a" } }',
      /urls: it is a list, for example \[one, two\], not the single value/,
    ],
    [
      'a file that is a list',
      '- a',
      /^entrepot\.yaml: it is a section with keys of its own, not a list$/,
    ],
    ['a list without items', 'upstreams: { docker.io: { urls: [] } }', /urls: the list is empty/],
    [
      'upstreams without names',
      'upstreams: {}',
      /:1:1 upstreams: it is empty; name at least one registry/,
    ],
    [
      'an upstream that no image can name',
      'upstreams:\n  "https://a.io": {}',
      /:2:3 upstreams\.https:\/\/a\.io: not the name of a registry/,
    ],
    [
      'two names for one registry',
      'upstreams:\n  docker.io:\n  index.docker.io:\n',
      /:3:3 upstreams\.index\.docker\.io: index\.docker\.io and docker\.io are one registry/,
    ],
    [
      'a URL with a password',
      'upstreams: { docker.io: { urls: ["https://me:pw@a.io"] } }',
      /urls\.0: a URL does not carry a user name or a password/,
    ],
    [
      'a URL with a query',
      'upstreams: { docker.io: { urls: ["https://a.io/?x"] } }',
      /urls\.0: a registry's URL has neither/,
    ],
    [
      'a URL of another scheme',
      'upstreams: { docker.io: { urls: ["ftp://a.io"] } }',
      /urls\.0: a registry is reached by https or http, not «ftp:»/,
    ],
    [
      'a URL that is none',
      'upstreams: { docker.io: { urls: [a.io] } }',
      /:1:34 upstreams\.docker\.io\.urls\.0: not a URL: «a\.io»/,
    ],
    [
      'a secret in the file',
      'upstreams:\n  docker.io:\n    username: me\n    password: hunter2',
      /^entrepot\.yaml:4:15 upstreams\.docker\.io\.password: a secret does not stand in this file; write \{ file:/,
    ],
    [
      'a secret at two places',
      'admin: { token: { file: /a, env: B } }',
      /admin\.token: name one place of the secret/,
    ],
    [
      'a password without a user',
      'upstreams: { docker.io: { password: { env: A } } }',
      /password: password is set but username is not/,
    ],
    [
      'a certificate without its key',
      'registry:\n  tls:\n    cert: /c',
      /:2:3 registry\.tls\.key: it is needed here, but is not set$/,
    ],
    [
      'an upstream certificate without its key',
      'upstreams: { docker.io: { tls: { cert: /c } } }',
      /tls\.cert: cert is set but key is not/,
    ],
    [
      'an open admin door',
      'admin: { listen: 0.0.0.0:5001 }',
      /:1:18 admin\.listen: 0\.0\.0\.0:5001 can be reached from other machines, so a token is needed/,
    ],
    [
      'a name that only looks like loopback',
      'admin: { listen: 127.evil.example:1 }',
      /admin\.listen: .*a token is needed/,
    ],
    [
      'two servers on one port',
      'admin: { listen: 127.0.0.1:5000 }',
      /admin\.listen: 127\.0\.0\.1:5000 collides with registry\.listen \(0\.0\.0\.0:5000\)/,
    ],
    [
      'more connections for one blob than for all',
      'upstreams: { docker.io: { connectionsPerBlob: 9, maxConnections: 8 } }',
      /connectionsPerBlob: 9 connections .* \(8\)/,
    ],
    [
      'a default that is no upstream',
      'defaultUpstream: a.io',
      /:1:18 defaultUpstream: a\.io is not among the upstreams; .* docker\.io, ghcr\.io/,
    ],
    [
      'no default among many',
      'upstreams:\n  ghcr.io:\n  quay.io:\n',
      /:1:1 upstreams: .*set defaultUpstream to one of ghcr\.io, quay\.io$/,
    ],
    ['a key twice', 'storage:\n  path: a\n  path: b', /^entrepot\.yaml:3:3: this key stands twice/],
    ['no YAML', 'storage: [a', /^entrepot\.yaml:1:\d+: this is not YAML: /],
    ['a bad schedule', 'storage: { verify: { scrub: often } }', /scrub: not a schedule: «often»/],
    [
      'a schedule of a minute that is none',
      'storage:\n  gc: { schedule: "61 3 * * *" }',
      /^entrepot\.yaml:2:19 storage\.gc\.schedule: not a schedule: «61 3 \* \* \*»; «61» cannot be: minutes are 0 to 59$/,
    ],
    [
      'a schedule of an hour that is none',
      'prewarm: [{ name: a, images: [a], schedule: "0 25 * * *" }]',
      /:1:45 prewarm\.0\.schedule: .*«25» cannot be: hours are 0 to 23$/,
    ],
    [
      'a schedule of a day, a month and a weekday that are none',
      'storage: { verify: { scrub: "0 0 32 13 9" } }',
      /:1:29 storage\.verify\.scrub: .*«32» cannot be: .* 1 to 31.*; «13» cannot be: .*; «9» cannot be: .* 0 to 7/,
    ],
    [
      'a schedule with seconds of a range that goes back',
      'site: { name: a, push: [{ name: b, url: "http://c", repositories: [d], schedule: "0 9-5 3 * * *" }] }',
      /site\.push\.0\.schedule: .*«9-5» cannot be: minutes/,
    ],
    [
      'a rule without a name',
      'prewarm:\n  - images: [a]',
      /:2:5 prewarm\.0\.name: it is needed here, but is not set$/,
    ],
    [
      'a bad platform',
      'prewarm: [{ name: a, images: [a], platforms: [amd64] }]',
      /platforms\.0: not a platform/,
    ],
    [
      'a rule to copy without a primary',
      'site: { name: a, sync: [{ name: b, repositories: [c] }] }',
      /site\.sync: there is no primary to copy from/,
    ],
    [
      'a second rule of the same name',
      'site: { name: a, push: [{ name: b, url: "http://c", repositories: [d] }, { name: b, url: "http://e", repositories: [f] }] }',
      /site\.push\.1\.name: another rule is called b already/,
    ],
    [
      'a second rule to prewarm of the same name',
      'prewarm:\n  - { name: a, images: [b] }\n  - { name: a, images: [c] }',
      /:3:13 prewarm\.1\.name: another rule is called a already; give this one a name of its own$/,
    ],
    [
      'an image to prewarm of no upstream',
      'prewarm: [{ name: a, images: [nginx, "b.io/c:1"] }]',
      /:1:38 prewarm\.0\.images\.1: its registry, b\.io, is not among the upstreams \(docker\.io, .*\); add it there, or remove/,
    ],
    [
      'an image to prewarm of a registry that no upstream stands for by default',
      'upstreams: { ghcr.io: }\nprewarm: [{ name: a, images: [nginx] }]',
      /prewarm\.0\.images\.0: its registry, docker\.io, is not among the upstreams \(ghcr\.io\)/,
    ],
    [
      'a regular expression with an open bracket',
      'prewarm: [{ name: a, images: ["b:/[/"] }]',
      /:1:31 prewarm\.0\.images\.0: «\/\[\/» is no regular expression: Unterminated character class; write/,
    ],
    [
      'a regular expression with an open group',
      'prewarm: [{ name: a, images: ["b:/(/"] }]',
      /images\.0: «\/\(\/» is no regular expression: Unterminated group; write/,
    ],
    [
      'a glob with an open brace',
      'prewarm: [{ name: a, images: ["b:v{1,2"] }]',
      /images\.0: «v\{1,2» is no pattern: Missing closing/,
    ],
    [
      'a name that no repository has',
      'prewarm: [{ name: a, images: [a//b] }]',
      /images\.0: «a\/\/b» is not an image; write/,
    ],
    [
      'tags to copy by what is no regular expression',
      'site: { name: a, primary: { url: "http://b" }, sync: [{ name: c, repositories: [d], tags: { include: ["/[/"] } }] }',
      /site\.sync\.0\.tags\.include\.0: «\/\[\/» is no regular expression/,
    ],
    [
      'tags to leave out by what is no range',
      'site: { name: a, push: [{ name: b, url: "http://c", repositories: [d], tags: { exclude: [">= x y"] } }] }',
      /site\.push\.0\.tags\.exclude\.0: «>= x y» is no range of versions; write/,
    ],
    [
      'repositories by a glob with an open bracket',
      'site: { name: a, push: [{ name: b, url: "http://c", repositories: ["docker.io/[a"] }] }',
      /site\.push\.0\.repositories\.0: «docker\.io\/\[a» is no pattern: Missing closing/,
    ],
    [
      'repositories by a pattern without letters',
      'site: { name: a, push: [{ name: b, url: "http://c", repositories: [" "] }] }',
      /repositories\.0: the pattern is empty/,
    ],
    [
      'a watermark of nothing',
      'storage: { lowWatermark: 0% }',
      /:1:26 storage\.lowWatermark: «0%» would leave nothing; write a share above 0%, for example 90%$/,
    ],
    [
      'all of the disk free',
      'storage: { minFree: 100% }',
      /:1:21 storage\.minFree: «100%» leaves nothing to the cache; write for example 5%$/,
    ],
    [
      'a login without its password',
      'site: { name: a, push: [{ name: b, url: "http://c", repositories: [d], username: me }] }',
      /site\.push\.0\.username: a login needs both/,
    ],
  ];
  for (const [what, yaml, expected] of faults) {
    test(`${what} is told with its place`, () => {
      const found = faultsOf(yaml);

      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0]!, expected);
    });
  }

  test('are none in schedules that can be', () => {
    const schedules = [
      '@hourly',
      '@daily',
      '@weekly',
      '@monthly',
      '@yearly',
      '@annually',
      '@Daily',
      '* * * * *',
      '59 23 31 12 7',
      '0 0 1 1 0',
      '*/15 0-6,22 1,15 jan-mar MON-FRI',
      '0 0 L * *',
      '0 0 15W * *',
      '0 0 * * FRI#2',
      '0 0 * * 5L',
      '? ? ? * ?',
      '0 0 1 * +MON',
      '59 59 23 31 DEC SUN',
      '*/10 5-50/5 */2 * * *',
      '0 0 30 2 *',
    ];

    for (const schedule of schedules) {
      const found = faultsOf(`storage: { gc: { schedule: "${schedule}" } }`);

      assert.deepEqual(found, [], schedule);
      nextTime({ cron: schedule }, 0);
    }
  });

  test('are none in patterns that can be', () => {
    const patterns = [
      '1.27',
      '1.*',
      'v{1,2}.?',
      '[!a]*',
      '{1..3}',
      'v(1|2)',
      '/^1\\.\\d+$/',
      '/[/]/',
      '^1.25',
      '>=1.2 <2',
      '~3.1 || 5',
    ];
    const push = { name: 'a', url: 'http://b', repositories: ['docker.io/{a,b}/**', '!(c)', 'd+'] };
    const config = {
      prewarm: [{ name: 'a', images: patterns.map((pattern) => `docker.io/library/b:${pattern}`) }],
      site: { name: 'a', push: [{ ...push, tags: { include: patterns, exclude: patterns } }] },
    };

    assert.deepEqual(faultsOf(JSON.stringify(config)), []);
  });

  test('are told all at once, in the order of the file, contradictions too', () => {
    const yaml = [
      'registry:',
      '  listen: nowhere',
      '  tls: { cert: a, keys: b }',
      'admin: { listen: 0.0.0.0:5001, tokn: x }',
      'storage: { path: a, path: b, maxSize: huge }',
      'upstreams:',
      '  docker.io: { tagTtl: soon, username: me }',
      '  registry-1.docker.io:',
      'prewarm: [{}]',
    ].join('\n');

    const places = faultsOf(yaml, { ENTREPOT_LOG_LEVEL: 'loud' }).map(
      (line) => line.split(': ')[0],
    );

    assert.deepEqual(places, [
      'entrepot.yaml:2:11 registry.listen',
      'entrepot.yaml:3:3 registry.tls.key',
      'entrepot.yaml:3:19 registry.tls.keys',
      'entrepot.yaml:4:18 admin.listen',
      'entrepot.yaml:4:32 admin.tokn',
      'entrepot.yaml:5:21',
      'entrepot.yaml:5:39 storage.maxSize',
      'entrepot.yaml:7:24 upstreams.docker.io.tagTtl',
      'entrepot.yaml:7:40 upstreams.docker.io.username',
      'entrepot.yaml:8:3 upstreams.registry-1.docker.io',
      'entrepot.yaml:9:11 prewarm.0.name',
      'entrepot.yaml:9:11 prewarm.0.images',
      'ENTREPOT_LOG_LEVEL',
    ]);
  });

  test('carry line, column and path as values', () => {
    assert.throws(() => parseConfig('log: { level: loud }', 'f', {}), {
      problems: [
        {
          line: 1,
          column: 15,
          path: 'log.level',
          message: 'it is one of trace, debug, info, warn, error, not «loud»',
        },
      ],
    });
  });
});

describe('the environment', () => {
  test('sets any single value, over the file', () => {
    const config = parseConfig('storage: { path: /file, maxSize: 1g }', 'f', {
      ENTREPOT_STORAGE_PATH: '/variable',
      ENTREPOT_REGISTRY_LISTEN: '127.0.0.1:0',
      ENTREPOT_REGISTRY_SHUTDOWNTIMEOUT: '1s',
      ENTREPOT_DEFAULTUPSTREAM: 'ghcr.io',
      ENTREPOT_BLOBUNAVAILABLE: '503',
      ENTREPOT_UPSTREAMS_DOCKER_IO_TAGTTL: '5m',
      ENTREPOT_UPSTREAMS_REGISTRY_K8S_IO_TIMEOUTS_IDLE: '9s',
      ENTREPOT_UPSTREAMS_GHCR_IO_USERNAME: 'me',
      ENTREPOT_UPSTREAMS_GHCR_IO_PASSWORD_FILE: '/run/secrets/pw',
    });

    assert.equal(config.storage.path, '/variable');
    assert.equal(config.storage.maxSizeBytes, 1024 ** 3);
    assert.deepEqual(config.registry.listen, { host: '127.0.0.1', port: 0 });
    assert.equal(config.registry.shutdownTimeoutMs, 1000);
    assert.equal(config.defaultUpstream, 'ghcr.io');
    assert.equal(config.blobUnavailable, 503);
    assert.equal(config.upstreams.get('docker.io')?.tagTtlMs, 300_000);
    assert.equal(config.upstreams.get('registry.k8s.io')?.timeouts.idleMs, 9000);
    assert.deepEqual(config.upstreams.get('ghcr.io')?.password, { file: '/run/secrets/pw' });
    assert.equal(config.upstreams.size, 8);
  });

  test('an empty variable sets nothing, and those of others are left alone', () => {
    const config = parseConfig('', '', {
      ENTREPOT_STORAGE_PATH: '',
      ENTREPOT_SERVER: 'http://a',
      ENTREPOT_CONFIG: '/a',
      ENTREPOT_TOKEN_FILE: '/a',
      ENTREPOT_TEST_SEED: '1',
      ENTREPOT_REQUIRE_CLIENTS: '1',
      PATH: '/bin',
    });

    assert.deepEqual(config, parseConfig('', '', {}));
  });

  test('a variable that the file names for a secret is no setting', () => {
    const yaml = 'admin: { token: { env: ENTREPOT_ADMIN_SECRET } }';

    assert.deepEqual(faultsOf(yaml, { ENTREPOT_ADMIN_SECRET: 'x' }), []);
  });

  const faults: [what: string, env: Record<string, string>, expected: RegExp][] = [
    [
      'a bad value',
      { ENTREPOT_STORAGE_MAXSIZE: 'big' },
      /^ENTREPOT_STORAGE_MAXSIZE: not a size: «big»/,
    ],
    [
      'a misspelt variable',
      { ENTREPOT_STORAGE_PAHT: '/a' },
      /^ENTREPOT_STORAGE_PAHT: .*did you mean ENTREPOT_STORAGE_PATH\?$/,
    ],
    [
      'a variable of nothing',
      { ENTREPOT_X: '1' },
      /^ENTREPOT_X: no setting has this name; unset it/,
    ],
    [
      'an upstream that is not configured',
      { ENTREPOT_UPSTREAMS_REGISTRY_EXAMPLE_COM_TAGTTL: '1m' },
      /^ENTREPOT_UPSTREAMS_REGISTRY_EXAMPLE_COM_TAGTTL: it fits no setting of a configured upstream/,
    ],
    [
      'a list',
      { ENTREPOT_UPSTREAMS_GHCR_IO_URLS: 'a' },
      /upstreams\.ghcr\.io\.urls is a list, and a variable holds one value only/,
    ],
    ['a section', { ENTREPOT_STORAGE: 'a' }, /storage is a section/],
    [
      'a contradiction',
      { ENTREPOT_ADMIN_LISTEN: '0.0.0.0:1' },
      /^ENTREPOT_ADMIN_LISTEN: .*a token is needed/,
    ],
  ];
  for (const [what, env, expected] of faults) {
    test(`${what} is told with the name of the variable`, () => {
      const found = faultsOf('', env);

      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0]!, expected);
    });
  }

  test('a variable that two upstreams share is refused', () => {
    const yaml = 'upstreams: { a-b.io: {}, a.b.io: {} }\ndefaultUpstream: a.b.io';

    assert.match(
      faultsOf(yaml, { ENTREPOT_UPSTREAMS_A_B_IO_OFFLINE: 'true' }).join('\n'),
      /^ENTREPOT_UPSTREAMS_A_B_IO_OFFLINE: it could mean upstreams\.a-b\.io\.offline and/,
    );
  });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Addresses, isPrivateName } from '../../src/upstream/network/addresses.ts';
import { trustOfRealm, trustOfRedirect } from '../../src/upstream/network/destinations.ts';
import { proxyPolicy } from '../../src/upstream/network/proxies.ts';
import { parseHosts, Resolver } from '../../src/upstream/network/resolver.ts';
import { dockerConfigCredentials } from '../../src/upstream/credentials/docker-config.ts';
import {
  findWithHelper,
  rememberedRuns,
  runHelper,
} from '../../src/upstream/credentials/helper.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { writeFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { join } from 'node:path';
import { ManualClock } from './manual-clock.ts';

describe('an address', () => {
  const kinds: [address: string, kind: string][] = [
    ['1.1.1.1', 'public'],
    ['2606:4700::1111', 'public'],
    ['10.1.2.3', 'private'],
    ['172.16.0.1', 'private'],
    ['172.32.0.1', 'public'],
    ['192.168.1.1', 'private'],
    ['fd12::1', 'private'],
    ['127.0.0.1', 'reserved'],
    ['127.255.0.9', 'reserved'],
    ['0.0.0.0', 'reserved'],
    ['169.254.169.254', 'reserved'],
    ['100.64.0.1', 'reserved'],
    ['224.0.0.1', 'reserved'],
    ['::1', 'reserved'],
    ['::', 'reserved'],
    ['fe80::1', 'reserved'],
    ['::ffff:127.0.0.1', 'reserved'],
    ['::ffff:7f00:1', 'reserved'],
    ['::ffff:10.0.0.1', 'private'],
    ['64:ff9b::169.254.169.254', 'reserved'],
    ['64:ff9b::101:101', 'public'],
    ['2002:7f00:1::', 'reserved'],
    ['2002:a00:1::', 'private'],
    ['example.com', 'reserved'],
    ['', 'reserved'],
  ];
  const addresses = new Addresses();
  for (const [address, kind] of kinds) {
    test(`${address} is ${kind}`, () => assert.equal(addresses.kindOf(address), kind));
  }
});

describe('what an answer names is trusted', () => {
  const rules = {
    urls: [new URL('https://harbor.corp.example:8443')],
    authHosts: ['sso.other.example'],
    redirectHosts: ['10.0.0.9:9000'],
  };
  const redirects: [url: string, trust: string][] = [
    ['https://harbor.corp.example:8443/x', 'own'],
    ['https://harbor.corp.example/x', 'site'],
    ['https://minio.corp.example/x', 'site'],
    ['https://10.0.0.9:9000/x', 'named'],
    ['https://10.0.0.9/x', 'public'],
    ['https://cdn.example.net/x', 'public'],
    ['https://sso.other.example/x', 'public'],
  ];
  for (const [url, trust] of redirects) {
    test(`as ${trust}, a redirect to ${url}`, () => {
      assert.equal(trustOfRedirect(new URL(url), rules), trust);
    });
  }
  const realms: [url: string, trust: string][] = [
    ['https://harbor.corp.example/token', 'own'],
    ['https://sso.other.example/token', 'own'],
    ['https://auth.corp.example/token', 'site'],
    ['https://auth.example.net/token', 'public'],
  ];
  for (const [url, trust] of realms) {
    test(`as ${trust}, a token server ${url}`, () => {
      assert.equal(trustOfRealm(new URL(url), rules), trust);
    });
  }
});

test('names of private networks are told from those of the internet', () => {
  const names = ['vault', 'localhost', 'a.localhost', 'nas.local.', 'metadata.google.internal'];
  for (const name of names) assert.equal(isPrivateName(name), true, name);
  for (const name of ['docker.io', 'local.example', '1.1.1.1', '::1', 'internal.example.com']) {
    assert.equal(isPrivateName(name), false, name);
  }
});

describe('the outgoing proxy', () => {
  const env = {
    HTTPS_PROXY: 'http://proxy.example:3128',
    http_proxy: 'proxy.example:8080',
    NO_PROXY: 'internal.example, .corp.example,10.0.0.9:9000 10.9.0.0/16,fd00::/8,10.8.0.0/99',
  };
  const targets: [url: string, proxy: string | undefined][] = [
    ['https://registry-1.docker.io', 'http://proxy.example:3128/'],
    ['http://plain.example', 'http://proxy.example:8080/'],
    ['https://internal.example', undefined],
    ['https://a.internal.example', undefined],
    ['https://notinternal.example', 'http://proxy.example:3128/'],
    ['https://harbor.corp.example', undefined],
    ['https://10.0.0.9:9000', undefined],
    ['https://10.0.0.9', 'http://proxy.example:3128/'],
    ['https://10.9.1.2:5000', undefined],
    ['https://10.8.1.2:5000', 'http://proxy.example:3128/'],
    ['https://[fd00::1]', undefined],
    ['https://127.0.0.1:5000', undefined],
    ['https://localhost:5000', undefined],
  ];
  for (const [url, proxy] of targets) {
    test(`for ${url} is ${proxy ?? 'none'}`, () => {
      assert.equal(proxyPolicy(undefined, env)(new URL(url))?.href, proxy);
    });
  }

  test('is the upstream’s own where it has one, or none', () => {
    const target = new URL('https://internal.example');
    assert.equal(proxyPolicy('http://other:1', env)(target)?.href, 'http://other:1/');
    assert.equal(proxyPolicy('none', env)(new URL('https://docker.io')), undefined);
    assert.equal(proxyPolicy(undefined, { ...env, NO_PROXY: '*' })(target), undefined);
  });
});

describe('the resolver', () => {
  const address = { address: '192.0.2.1', family: 4 as const };

  test('asks once for all who wait, and again when the answer is too old', async () => {
    const clock = new ManualClock();
    let asked = 0;
    const resolver = new Resolver(
      clock,
      () => {
        asked += 1;
        return Promise.resolve({ addresses: [address], ttlSeconds: 30 });
      },
      '/nonexistent',
    );

    const answers = await Promise.all([1, 2, 3].map(() => resolver.addressesOf('r.example')));
    await resolver.addressesOf('R.Example.');
    assert.deepEqual(answers, [[address], [address], [address]]);
    assert.equal(asked, 1);

    clock.advance(30_000);
    await resolver.addressesOf('r.example');
    assert.equal(asked, 2);
  });

  test('uses the last addresses on while the name servers fail, and does not ask them each time', async () => {
    const clock = new ManualClock();
    let asked = 0;
    let fails = false;
    const resolver = new Resolver(
      clock,
      () => {
        asked += 1;
        if (fails) return Promise.reject(new Error('SERVFAIL'));
        return Promise.resolve({ addresses: [address], ttlSeconds: 1 });
      },
      '/nonexistent',
    );
    await resolver.addressesOf('r.example');
    fails = true;
    clock.advance(1_000);

    assert.deepEqual(await resolver.addressesOf('r.example'), [address]);
    assert.deepEqual(await resolver.addressesOf('r.example'), [address]);
    assert.equal(asked, 2);
    await assert.rejects(resolver.addressesOf('unknown.example'), /SERVFAIL/);
    await assert.rejects(resolver.addressesOf('unknown.example'), /SERVFAIL/);
    assert.equal(asked, 3);
  });

  test('uses the last addresses when the name servers are silent, and then without waiting', async () => {
    const clock = new ManualClock();
    const silent = Promise.withResolvers<never>();
    let asked = 0;
    const resolver = new Resolver(
      clock,
      () => {
        asked += 1;
        return asked === 1
          ? Promise.resolve({ addresses: [address], ttlSeconds: 1 })
          : silent.promise;
      },
      '/nonexistent',
    );
    await resolver.addressesOf('r.example');
    clock.advance(1_000);

    assert.deepEqual(await resolver.addressesOf('r.example'), [address]);
    silent.reject(new Error('ETIMEOUT'));
    await setImmediate();
    clock.advance(2_000);
    const again = await resolver.addressesOf('r.example');

    assert.deepEqual(again, [address]);
    assert.equal(asked, 3);
  });

  test('keeps localhost on this machine, and addresses as they are, without asking', async () => {
    const resolver = new Resolver(
      new ManualClock(),
      () => Promise.reject(new Error('asked')),
      '/nonexistent',
    );

    assert.equal((await resolver.addressesOf('localhost'))[0]?.address, '127.0.0.1');
    assert.deepEqual(await resolver.addressesOf('::1'), [{ address: '::1', family: 6 }]);
  });

  test('reads the hosts file first', () => {
    const hosts = parseHosts(
      '10.0.0.1 a.example A2 # b.example\n# 10.0.0.2 c\n\nfe80::1 a.example\nx y',
    );

    assert.deepEqual([...hosts.keys()], ['a.example', 'a2']);
    assert.equal(hosts.get('a.example')?.length, 2);
  });
});

describe('a credential helper', () => {
  const answering = (stdout: string) => () => Promise.resolve(stdout);

  test('gives the login', async () => {
    const asked: string[] = [];
    const found = await findWithHelper('ecr-login', 'r.example', (program, input) => {
      asked.push(program, input);
      return Promise.resolve('{"ServerURL":"r.example","Username":"AWS","Secret":"s"}');
    });

    assert.deepEqual(found, { username: 'AWS', password: 's' });
    assert.deepEqual(asked, ['docker-credential-ecr-login', 'r.example']);
  });

  test('may know none', async () => {
    const refuse = () =>
      Promise.reject(
        Object.assign(new Error('failed'), {
          code: 1,
          stdout: 'credentials not found in native keychain\n',
        }),
      );
    assert.equal(await findWithHelper('pass', 'r.example', refuse), undefined);
  });

  test('fails with what to do, and without what it wrote', async () => {
    await assert.rejects(
      findWithHelper('x', 'r.example', answering('secret s3cret')),
      (error: Error) =>
        /docker-credential-x answered/.test(error.message) && !/s3cret/.test(error.message),
    );
    const missing = () => Promise.reject(Object.assign(new Error('spawn'), { code: 'ENOENT' }));
    await assert.rejects(findWithHelper('x', 'r.example', missing), /is not installed/);
    await assert.rejects(findWithHelper('../x', 'r.example', missing), /not the name of/);
  });
});

describe('a helper that is asked again and again', () => {
  test('runs once a minute for each server, and once for all who wait', async () => {
    const clock = new ManualClock();
    let runs = 0;
    const run = rememberedRuns((program, server) => {
      runs += 1;
      return Promise.resolve(`${program} ${server} ${runs}`);
    }, clock);

    const together = await Promise.all([run('h', 'a'), run('h', 'a'), run('h', 'b')]);
    clock.advance(59_999);
    const later = await run('h', 'a');
    clock.advance(1);
    const renewed = await run('h', 'a');

    assert.deepEqual(together, ['h a 1', 'h a 1', 'h b 2']);
    assert.deepEqual([later, renewed], ['h a 1', 'h a 3']);
  });

  test('that failed is left alone for five seconds', async () => {
    const clock = new ManualClock();
    let runs = 0;
    const run = rememberedRuns(() => {
      runs += 1;
      return Promise.reject(new Error('locked'));
    }, clock);

    await assert.rejects(run('h', 'a'), /locked/);
    await assert.rejects(run('h', 'a'), /locked/);
    assert.equal(runs, 1);
    clock.advance(5_000);
    await assert.rejects(run('h', 'a'), /locked/);
    assert.equal(runs, 2);
  });

  test('is a program that reads the server from its input', async () => {
    await using folder = await temporaryFolder();
    const program = join(folder.path, 'docker-credential-test');
    await writeFile(
      program,
      '#!/bin/sh\nread -r server\necho "$1 $server"\n[ "$server" = good ]\n',
      {
        mode: 0o755,
      },
    );

    assert.equal(await runHelper(program, 'good\n'), 'get good\n');
    await assert.rejects(runHelper(program, 'bad\n'), { stdout: 'get bad\n', code: 1 });
  });
});

describe('the logins that Docker keeps', () => {
  async function find(config: unknown, registry: string): Promise<unknown> {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'config.json');
    await writeFile(path, typeof config === 'string' ? config : JSON.stringify(config));
    return await dockerConfigCredentials({
      path,
      registry,
      run: (program, server) =>
        Promise.resolve(JSON.stringify({ Username: program, Secret: server })),
    })();
  }
  const auth = Buffer.from('me:pass:word').toString('base64');

  test('stand under the names that the command line uses', async () => {
    const login = { username: 'me', password: 'pass:word' };
    const names = { 'https://index.docker.io/v1/': { auth }, 'ghcr.io': { auth } };
    assert.deepEqual(await find({ auths: names }, 'docker.io'), login);
    assert.deepEqual(await find({ auths: names }, 'ghcr.io'), login);
    assert.equal(await find({ auths: names }, 'quay.io'), undefined);
  });

  test('may be an identity token', async () => {
    const config = { auths: { 'r.example': { identitytoken: 'i' } } };
    assert.deepEqual(await find(config, 'r.example'), { username: '<token>', password: 'i' });
  });

  test('may be with a helper, of the registry before that of all', async () => {
    const config = { credsStore: 'pass', credHelpers: { 'r.example': 'ecr-login' } };
    assert.deepEqual(await find(config, 'r.example'), {
      username: 'docker-credential-ecr-login',
      password: 'r.example',
    });
    assert.deepEqual(await find(config, 'ghcr.io'), {
      username: 'docker-credential-pass',
      password: 'ghcr.io',
    });
  });

  test('are not quoted by a message about the file', async () => {
    await assert.rejects(find('{"auths": hunter2', 'r.example'), (error: Error) => {
      return /is not JSON/.test(error.message) && !error.message.includes('hunter2');
    });
  });
});

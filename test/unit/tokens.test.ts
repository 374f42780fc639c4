import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import { MirrorError } from '../../src/oci/errors.ts';
import { realmPolicy } from '../../src/upstream/realm.ts';
import { TokenSource, type Credentials, type FetchToken } from '../../src/upstream/tokens.ts';
import { ManualClock } from './manual-clock.ts';

const scope = 'repository:library/app:pull';
const bearer = ['Bearer realm="https://auth.r.io/token",service="r.io"'];
const login: Credentials = { username: 'me', password: 'hunter2' };
const loginHeader = `Basic ${Buffer.from('me:hunter2').toString('base64')}`;

interface Asked {
  readonly url: URL;
  readonly authorization: string | undefined;
}

type Answering = (asked: Asked, count: number) => ReturnType<FetchToken>;

interface Bench {
  readonly source: TokenSource;
  readonly clock: ManualClock;
  readonly asked: Asked[];
  /** Resolves when the token server has been asked that often. */
  readonly askedTimes: (count: number) => Promise<void>;
  credentials: Credentials | undefined;
}

function body(answer: unknown): Uint8Array {
  return Buffer.from(typeof answer === 'string' ? answer : JSON.stringify(answer));
}

/** A token server that gives `token-1`, `token-2`, … for 300 s unless told otherwise. */
function makeBench(
  answering: Answering = (_, count) =>
    Promise.resolve({ status: 200, body: body({ token: `token-${count}`, expires_in: 300 }) }),
): Bench {
  const clock = new ManualClock();
  const asked: Asked[] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  const bench: Bench = {
    clock,
    asked,
    credentials: undefined,
    askedTimes: (count) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (asked.length >= count) resolve();
      waiting.push({ count, resolve });
      return promise;
    },
    source: new TokenSource({
      registry: 'r.io',
      credentials: () => Promise.resolve(bench.credentials),
      clock,
      realmAllowed: realmPolicy(new URL('https://r.io'), []),
      fetchToken: (url, headers) => {
        const one = { url: new URL(url), authorization: headers['authorization'] };
        asked.push(one);
        for (const { count, resolve } of waiting) if (asked.length >= count) resolve();
        return answering(one, asked.length);
      },
    }),
  };
  return bench;
}

describe('a token', () => {
  test('is not asked for before a challenge has come', async () => {
    const { source, asked } = makeBench();

    assert.equal(await source.authorizationFor(scope), undefined);
    assert.deepEqual(asked, []);
  });

  test('is asked for with service and scope, and anonymously without a login', async () => {
    const { source, asked } = makeBench();

    const header = await source.authorizationAfter(bearer, scope, undefined);

    assert.equal(header, 'Bearer token-1');
    assert.deepEqual(
      asked.map(({ url, authorization }) => [url.href, authorization]),
      [['https://auth.r.io/token?service=r.io&scope=repository%3Alibrary%2Fapp%3Apull', undefined]],
    );
  });

  test('is asked for with the login when there is one', async () => {
    const bench = makeBench();
    bench.credentials = login;

    await bench.source.authorizationAfter(bearer, scope, undefined);

    assert.equal(bench.asked[0]?.authorization, loginHeader);
    assert.equal(bench.asked[0]?.url.searchParams.get('account'), 'me');
    assert.ok(!bench.asked[0].url.href.includes('hunter2'));
  });

  test('is asked for with the scope that the challenge names', async () => {
    const { source, asked } = makeBench();

    await source.authorizationAfter([`${bearer[0]},scope="aws"`], scope, undefined);
    await source.authorizationFor(scope);

    assert.deepEqual(
      asked.map(({ url }) => url.searchParams.getAll('scope')),
      [['aws']],
    );
  });

  test('is shared by all who ask while it is fetched', async () => {
    const answer = Promise.withResolvers<void>();
    const { source, asked, askedTimes } = makeBench(async () => {
      await answer.promise;
      return { status: 200, body: body({ token: 'shared' }) };
    });
    const waiting = Array.from({ length: 100 }, () =>
      source.authorizationAfter(bearer, scope, undefined),
    );

    await askedTimes(1);
    answer.resolve();

    assert.deepEqual(new Set(await Promise.all(waiting)), new Set(['Bearer shared']));
    assert.equal(asked.length, 1);
  });

  test('is fetched for the others when the one who asked first leaves', async () => {
    const answer = Promise.withResolvers<void>();
    const { source, asked, askedTimes } = makeBench(async () => {
      await answer.promise;
      return { status: 200, body: body({ token: 'shared' }) };
    });
    const leaving = new AbortController();
    const first = source.authorizationAfter(bearer, scope, undefined, leaving.signal);
    await askedTimes(1);
    const second = source.authorizationAfter(bearer, scope, undefined);

    leaving.abort(new Error('the client left'));
    await assert.rejects(first, /the client left/);
    answer.resolve();

    assert.equal(await second, 'Bearer shared');
    assert.equal(asked.length, 1);
  });

  test('is one a scope', async () => {
    const { source } = makeBench();
    await source.authorizationAfter(bearer, scope, undefined);

    const other = await source.authorizationFor('repository:library/other:pull');

    assert.equal(other, 'Bearer token-2');
    assert.equal(await source.authorizationFor(scope), 'Bearer token-1');
  });

  test('got with one login is never given to another, nor to none (artifact-keeper#3606)', async () => {
    const bench = makeBench();
    bench.credentials = login;
    await bench.source.authorizationAfter(bearer, scope, undefined);

    bench.credentials = { ...login, password: 'changed' };
    const changed = await bench.source.authorizationFor(scope);
    bench.credentials = undefined;
    const anonymous = await bench.source.authorizationFor(scope);

    assert.deepEqual([changed, anonymous], ['Bearer token-2', 'Bearer token-3']);
    assert.equal(bench.asked[2]?.authorization, undefined);
  });

  test('that was refused is fetched anew; one that has replaced it meanwhile is not', async () => {
    const { source, asked } = makeBench();
    const first = await source.authorizationAfter(bearer, scope, undefined);

    const second = await source.authorizationAfter(bearer, scope, first);
    const late = await source.authorizationAfter(bearer, scope, first);

    assert.deepEqual([second, late], ['Bearer token-2', 'Bearer token-2']);
    assert.equal(asked.length, 2);
  });
});

describe('after a 403', () => {
  test('all who were refused with one token share its one successor', async () => {
    const { source, asked } = makeBench();
    const first = await source.authorizationAfter(bearer, scope, undefined);

    const together = await Promise.all([1, 2, 3].map(() => source.authorizationAnew(scope, first)));
    const late = await source.authorizationAnew(scope, first);

    assert.deepEqual(new Set([...together, late]), new Set(['Bearer token-2']));
    assert.equal(asked.length, 2);
  });

  test('nothing is sent again that was refused', async () => {
    const bench = makeBench();
    assert.equal(await bench.source.authorizationAnew(scope, undefined), undefined);

    bench.credentials = login;
    await bench.source.authorizationAfter(['Basic realm="r"'], scope, undefined);
    assert.equal(await bench.source.authorizationAnew(scope, loginHeader), undefined);
  });
});

describe('a token lives', () => {
  const lives: [what: string, answer: object, goodForMs: number][] = [
    ['as long as it says, less thirty seconds', { token: 't', expires_in: 300 }, 270_000],
    ['as long as it says, less a tenth when it is short', { token: 't', expires_in: 10 }, 9_000],
    ['a minute, less a tenth, when it does not say', { token: 't' }, 54_000],
    ['a minute, less a tenth, when it says nonsense', { token: 't', expires_in: '1h' }, 54_000],
    ['a minute, less a tenth, when it says never', { token: 't', expires_in: -1 }, 54_000],
  ];
  for (const [what, answer, goodForMs] of lives) {
    test(what, async () => {
      const { source, asked, clock } = makeBench(() =>
        Promise.resolve({ status: 200, body: body(answer) }),
      );
      await source.authorizationAfter(bearer, scope, undefined);

      clock.advance(Math.floor(goodForMs * 0.8));
      await source.authorizationFor(scope);
      const before = asked.length;
      clock.advance(goodForMs);
      await source.authorizationFor(scope);

      assert.deepEqual([before, asked.length], [1, 2]);
    });
  }

  test('and is renewed before its end, beside the requests that still use it', async () => {
    const answers = [
      Promise.resolve({ status: 200, body: body({ token: 'first', expires_in: 100 }) }),
      Promise.resolve({ status: 200, body: body({ token: 'second', expires_in: 100 }) }),
    ];
    const bench = makeBench(() => answers.shift() ?? Promise.reject(new Error('asked again')));
    await bench.source.authorizationAfter(bearer, scope, undefined);

    bench.clock.advance(76_000);
    assert.equal(await bench.source.authorizationFor(scope), 'Bearer first');
    await bench.askedTimes(2);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await bench.source.authorizationFor(scope), 'Bearer second');
    assert.equal(bench.asked.length, 2);
  });

  test('and is asked for but once before its end, when the token server refuses it', async () => {
    const bench = makeBench((_, count) =>
      Promise.resolve(
        count === 1
          ? { status: 200, body: body({ token: 'first', expires_in: 100 }) }
          : { status: 429, body: body(''), retryAfterSeconds: 60 },
      ),
    );
    await bench.source.authorizationAfter(bearer, scope, undefined);

    bench.clock.advance(75_000);
    for (let seconds = 75; seconds < 90; seconds += 1) {
      await bench.source.authorizationFor(scope);
      bench.clock.advance(1_000);
    }

    assert.equal(bench.asked.length, 2);
    await assert.rejects(bench.source.authorizationFor(scope), { code: 'UPSTREAM_LIMITED' });
  });

  test('from its receipt: a slow token server does not make it older', async () => {
    const answer = Promise.withResolvers<void>();
    const bench = makeBench(async () => {
      await answer.promise;
      return { status: 200, body: body({ token: 't', expires_in: 10 }) };
    });
    const waiting = bench.source.authorizationAfter(bearer, scope, undefined);
    await bench.askedTimes(1);

    bench.clock.advance(8_000);
    answer.resolve();
    await waiting;
    bench.clock.advance(7_000);
    await bench.source.authorizationFor(scope);

    assert.equal(bench.asked.length, 1);
  });
});

describe('a realm that is not upstream’s own', () => {
  for (const realm of [
    'https://evil.example/token',
    'http://r.io/token',
    'https://r.io@evil.example/',
    'https://me:hunter2@r.io/',
    'file:///etc/passwd',
    '/token',
    '',
  ]) {
    test(`«${realm}» gets no request, with or without a login`, async () => {
      const bench = makeBench();
      bench.credentials = login;
      const challenge = [`Bearer realm="${realm}",service="r.io"`];

      await assert.rejects(bench.source.authorizationAfter(challenge, scope, undefined), {
        code: 'DENIED',
        message: /authHosts/,
      });
      await bench.source.authorizationFor(scope).catch(() => {});

      assert.deepEqual(bench.asked, []);
    });
  }

  test('does not spoil the token that we have', async () => {
    const { source, asked } = makeBench();
    await source.authorizationAfter(bearer, scope, undefined);

    const evil = ['Bearer realm="https://evil.example/token"'];
    await assert.rejects(source.authorizationAfter(evil, scope, undefined), { code: 'DENIED' });

    assert.equal(await source.authorizationFor(scope), 'Bearer token-1');
    assert.equal(asked.length, 1);
  });
});

describe('Basic', () => {
  test('is the login itself, and is sent unasked from then on', async () => {
    const bench = makeBench();
    bench.credentials = login;

    const header = await bench.source.authorizationAfter(['Basic realm="x"'], scope, undefined);

    assert.equal(header, loginHeader);
    assert.equal(await bench.source.authorizationFor(scope), loginHeader);
    assert.deepEqual(bench.asked, []);
  });

  test('that was refused is not sent again, and without a login nothing is', async () => {
    const bench = makeBench();
    assert.equal(await bench.source.authorizationAfter(['Basic'], scope, undefined), undefined);
    bench.credentials = login;

    const again = await bench.source.authorizationAfter(['Basic'], scope, loginHeader);

    assert.equal(again, undefined);
  });

  test('a challenge that is neither leads to nothing', async () => {
    const { source } = makeBench();

    assert.equal(await source.authorizationAfter(['Negotiate'], scope, undefined), undefined);
    assert.equal(await source.authorizationAfter([], scope, undefined), undefined);
  });
});

describe('a token server that fails', () => {
  const secrets = `{"token":"sesame\\nSet-Cookie: x","hint":"hunter2"}`;
  const cases: [what: string, code: string, answering: Answering][] = [
    ['401', 'DENIED', () => Promise.resolve({ status: 401, body: body('hunter2') })],
    ['403', 'DENIED', () => Promise.resolve({ status: 403, body: body('hunter2') })],
    ['429', 'UPSTREAM_LIMITED', () => Promise.resolve({ status: 429, body: body('hunter2') })],
    ['500', 'UPSTREAM_UNAVAILABLE', () => Promise.resolve({ status: 500, body: body('hunter2') })],
    ['400', 'UPSTREAM_INVALID', () => Promise.resolve({ status: 400, body: body('hunter2') })],
    ['404', 'UPSTREAM_INVALID', () => Promise.resolve({ status: 404, body: body('hunter2') })],
    ['a redirect', 'UPSTREAM_INVALID', () => Promise.resolve({ status: 302, body: body('') })],
    ['no JSON', 'UPSTREAM_INVALID', () => Promise.resolve({ status: 200, body: body('sesame') })],
    ['null', 'UPSTREAM_INVALID', () => Promise.resolve({ status: 200, body: body('null') })],
    [
      'an empty token',
      'UPSTREAM_INVALID',
      () => Promise.resolve({ status: 200, body: body({ token: '' }) }),
    ],
    [
      'a token with a line break',
      'UPSTREAM_INVALID',
      () => Promise.resolve({ status: 200, body: body(secrets) }),
    ],
    ['silence', 'UPSTREAM_UNAVAILABLE', () => Promise.reject(new Error('ECONNRESET'))],
    [
      'an answer that is too large',
      'UPSTREAM_INVALID',
      () => Promise.reject(new MirrorError('UPSTREAM_INVALID', 'too large')),
    ],
  ];
  for (const [what, code, answering] of cases) {
    test(`${what}: ${code}, without a secret in it, and the next one asks again`, async () => {
      const bench = makeBench(answering);
      bench.credentials = login;

      const failure = await bench.source.authorizationAfter(bearer, scope, undefined).then(
        () => assert.fail('it gave a token'),
        (error: unknown) => error as MirrorError,
      );
      await bench.source.authorizationAfter(bearer, scope, undefined).catch(() => {});

      assert.equal(failure.code, code);
      const shown = inspect(failure, { depth: 10, showHidden: true });
      for (const secret of ['hunter2', 'sesame', loginHeader.slice(6)]) {
        assert.ok(!shown.includes(secret), `${secret} in ${shown}`);
      }
      assert.equal(bench.asked.length, 2);
    });
  }

  test('401 without a login tells to set one', async () => {
    const bench = makeBench(() => Promise.resolve({ status: 401, body: body('') }));

    const asked = bench.source.authorizationAfter(bearer, scope, undefined);

    await assert.rejects(asked, { message: /without a login \(401\); set username and password/ });
  });

  test('429 says when to come again', async () => {
    const { source } = makeBench(() =>
      Promise.resolve({ status: 429, body: body(''), retryAfterSeconds: 42 }),
    );

    await assert.rejects(source.authorizationAfter(bearer, scope, undefined), {
      retryAfterSeconds: 42,
    });
  });

  test('fails all who share the request, and is asked again by the next', async () => {
    const bench = makeBench((_, count) =>
      Promise.resolve({ status: count === 1 ? 500 : 200, body: body({ token: 'late' }) }),
    );

    const shared = await Promise.allSettled([
      bench.source.authorizationAfter(bearer, scope, undefined),
      bench.source.authorizationAfter(bearer, scope, undefined),
    ]);
    const next = await bench.source.authorizationAfter(bearer, scope, undefined);

    assert.deepEqual(
      shared.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.equal(next, 'Bearer late');
    assert.equal(bench.asked.length, 2);
  });

  test('access_token is as good as token', async () => {
    const { source } = makeBench(() =>
      Promise.resolve({ status: 200, body: body({ access_token: 'other' }) }),
    );

    assert.equal(await source.authorizationAfter(bearer, scope, undefined), 'Bearer other');
  });
});

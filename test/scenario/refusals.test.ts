import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Run } from '../../src/api/runs.ts';
import { get } from '../kit/clients.ts';
import { runCommand, type CommandResult } from '../kit/command.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const image = makeImage({ seed: 'refusals', layers: [30_000] });

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function ask(
  mirror: TestMirror,
  method: string,
  path: string,
  init: RequestInit = {},
): Promise<Answer> {
  const answer = await fetch(`${mirror.adminUrl}/api/v1${path}`, { method, ...init });
  return { status: answer.status, text: await answer.text() };
}

function command(mirror: TestMirror, ...argv: string[]): Promise<CommandResult> {
  return runCommand({ ENTREPOT_SERVER: mirror.adminUrl }, ...argv);
}

test('sync verify of a rule that does not exist is refused with the rules that there are', async () => {
  await using upstream = await startScriptedRegistry();
  await using primary = await startMirror({ upstream });
  await using site = await startMirror({
    upstream,
    config: {
      site: {
        name: 'here',
        primary: { url: primary.url, admin: primary.adminUrl },
        sync: [{ name: 'team', repositories: ['docker.io/**'], follow: false }],
      },
    },
  });

  const unknown = await ask(site, 'GET', '/sync/verify?rule=nope');
  const verified = await command(site, 'sync', 'verify', 'nope');
  const run = await command(site, 'sync', 'nope');
  const without = await command(primary, 'sync', 'verify');

  assert.equal(unknown.status, 404);
  for (const text of [unknown.text, verified.err, run.err]) {
    assert.match(text, /no rule nope; the rules are team/);
  }
  assert.deepEqual([verified.exitCode, verified.out, run.exitCode], [1, '', 1]);
  assert.deepEqual([without.exitCode, without.out], [1, '']);
  assert.match(without.err, /no sync rules: see site in its configuration/);
});

test('a dry scrub says how much would be read, and reads nothing', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await command(mirror, 'prewarm', 'app:1');

  const asked = await ask(mirror, 'POST', '/scrub?dryRun=true');
  const { id, isDryRun } = JSON.parse(asked.text) as Run;
  const ended = await mirror.observed(
    'run-changed',
    (run) => run.id === id && run.state === 'succeeded',
  );
  const texts = [
    await command(mirror, 'scrub', '--dry-run'),
    await command(mirror, 'jobs', 'run', 'scrub', '--dry-run'),
  ];

  assert.deepEqual([asked.status, isDryRun, ended.state], [202, true, 'succeeded']);
  for (const { exitCode, out } of texts) {
    assert.equal(exitCode, 0);
    assert.match(out, /^3 blobs would be read: 3\d KiB$/m);
    assert.match(out, /dry run succeeded; nothing was done/);
    assert.doesNotMatch(out, /are sound/);
  }
});

test('what changes something refuses keys that it does not know', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/app/manifests/1`);
  const typed = { headers: { 'content-type': 'application/json' } };
  const requests: [method: string, path: string, body: unknown][] = [
    ['POST', '/scrub?dryrun=true', undefined],
    ['POST', '/scrub', { dryRun: true }],
    ['POST', '/gc?dryrun=true', undefined],
    ['POST', '/jobs/gc/run?dryrun=true', undefined],
    ['POST', '/prewarm', { images: ['app:1'], dryrun: true }],
    ['POST', '/prewarm?dryRun=true', { images: ['app:1'] }],
    ['POST', '/cache/rollback', { reference: 'app:1', dryRun: true }],
    ['DELETE', '/cache?ref=app:1&dryrun=true', undefined],
    ['DELETE', '/pins?ref=app:1&dryRun=true', undefined],
  ];

  for (const [method, path, body] of requests) {
    const init = body === undefined ? {} : { ...typed, body: JSON.stringify(body) };
    const { status, text } = await ask(mirror, method, path, init);
    assert.equal(status, 400, `${method} ${path}`);
    assert.match(text, /dryrun/i, `${method} ${path}`);
  }
  const runs = await ask(mirror, 'GET', '/runs');
  assert.deepEqual((JSON.parse(runs.text) as { items: unknown[] }).items, []);
});

test('an empty body of JSON is none', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const empty = { headers: { 'content-type': 'application/json' }, body: '' };

  assert.equal((await ask(mirror, 'POST', '/gc?dryRun=true', empty)).status, 202);
  assert.equal((await ask(mirror, 'POST', '/scrub', { ...empty, body: '{}' })).status, 202);
  assert.equal((await ask(mirror, 'POST', '/pins', empty)).status, 400);
});

test('two selections of what to purge are refused', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  upstream.add('library/app', image, '1');
  await get(`${mirror.url}/v2/app/manifests/1`);

  for (const query of [
    'ref=app:1&older-than=0s',
    'pattern=**&older-than=0s',
    'ref=app:1&pattern=**',
  ]) {
    const { status, text } = await ask(mirror, 'DELETE', `/cache?${query}`);
    assert.equal(status, 400, query);
    assert.match(text, /not by two of them/);
  }
  const typed = await command(mirror, 'purge', 'app:1', '--older-than', '0s');
  assert.deepEqual([typed.exitCode, typed.out], [2, '']);
  assert.match((await command(mirror, 'ls')).out, /docker\.io\/library\/app/);
});

test('what was typed wrong is exit code 2, in words of the command line', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });
  const lines: [argv: string[], said: RegExp][] = [
    [['prewarm'], /name images/],
    [['prewarm', 'BAD IMAGE'], /«BAD IMAGE» is not an image/],
    [['pin', 'Bad!'], /«Bad!» is not an image/],
    [['purge'], /images, --older-than or --pattern/],
    [['purge', '--older-than', 'abc'], /--older-than: .*«abc»/],
    [['purge', '--roll-back', 'app:1', '--dry-run'], /--roll-back takes images/],
    [['gc', '--untagged', 'abc'], /--untagged: .*«abc»/],
    [['client-config', 'nope'], /not one of docker/],
    [['client-config', 'docker', '--mirror', 'nope'], /«nope» is no address/],
    [['completion', 'nope'], /not bash, zsh or fish/],
    [['jobs', 'run', 'prewarm'], /entrepot prewarm/],
    [['stats', '--server', 'foo'], /--server: «foo» is not a URL/],
    [['stats', '--server', 'foo:5001'], /--server: «foo:5001» is not a URL/],
  ];

  for (const [argv, said] of lines) {
    const { exitCode, out, err } = await command(mirror, ...argv);
    assert.deepEqual([exitCode, out], [2, ''], `${argv.join(' ')}: ${err}`);
    assert.match(err, said);
  }
});

test('every list is read page by page, and refuses to go on after what is not in it', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream,
    config: {
      upstreams: { 'ghcr.io': { urls: [upstream.url] } },
      site: {
        name: 'here',
        primary: { url: upstream.url },
        sync: ['one', 'two'].map((name) => ({ name, repositories: ['docker.io/**'] })),
      },
    },
  });
  for (const tag of ['1', '2']) {
    upstream.add('library/app', image, tag);
    await command(mirror, 'pin', `app:${tag}`);
    await command(mirror, 'prewarm', `app:${tag}`);
  }

  for (const list of ['/jobs', '/upstreams', '/pins', '/sync', '/runs']) {
    const whole = JSON.parse((await ask(mirror, 'GET', list)).text) as Page;
    const items: unknown[] = [];
    let after: string | null = '';
    for (; after !== null && items.length <= whole.items.length;) {
      const from: string = after === '' ? '' : `&after=${encodeURIComponent(after)}`;
      const page = JSON.parse((await ask(mirror, 'GET', `${list}?limit=1${from}`)).text) as Page;
      assert.equal(page.items.length, 1, list);
      items.push(...page.items);
      after = page.next;
    }
    assert.ok(whole.items.length > 1, list);
    assert.equal(whole.next, null, list);
    assert.deepEqual(items.map(keyOf), whole.items.map(keyOf), list);

    const lost = await ask(mirror, 'GET', `${list}?after=nope`);
    assert.deepEqual([lost.status, /«nope»/.test(lost.text)], [400, true], list);
  }
});

test('who asks at the wrong door, or with the wrong token, is told so', async () => {
  await using folder = await temporaryFolder();
  await using upstream = await startScriptedRegistry();
  const right = join(folder.path, 'right');
  const wrong = join(folder.path, 'wrong');
  await writeFile(right, 's3cret\n');
  await writeFile(wrong, 'other\n');
  await using mirror = await startMirror({
    upstream,
    config: { admin: { listen: '127.0.0.1:0', token: { file: right } } },
  });
  const authorized = async (authorization: string): Promise<number> =>
    (await ask(mirror, 'GET', '/jobs', { headers: { authorization } })).status;

  const door = await command(mirror, 'stats', '--server', mirror.url);
  const none = await command(mirror, 'stats');
  const other = await command(mirror, 'stats', '--token-file', wrong);

  assert.deepEqual([door.exitCode, none.exitCode, other.exitCode], [1, 1, 1]);
  assert.match(door.err, /^entrepot: this is the registry port.*name the admin address/);
  assert.match(none.err, /asks for its admin token/);
  assert.match(other.err, /does not take this token: look at .*wrong/);
  assert.equal((await command(mirror, 'stats', '--token-file', right)).exitCode, 0);
  assert.deepEqual(
    await Promise.all(
      ['Bearer s3cret', 'bearer s3cret', 'BEARER s3cret', 's3cret', 'Basic s3cret', 'Bearer '].map(
        authorized,
      ),
    ),
    [200, 200, 200, 401, 401, 401],
  );
});

test('purge says when nothing matched; jobs tells times by ISO 8601', async () => {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startMirror({ upstream });

  const purged = await command(mirror, 'purge', 'app:1');
  const jobs = await command(mirror, 'jobs');

  assert.deepEqual(
    [purged.exitCode, purged.out],
    [0, 'Nothing here matches; nothing was purged.\n'],
  );
  assert.match(jobs.out, /^gc .* \d{4}-\d\d-\d\dT[\d:.]+Z /m);
});

interface Page {
  readonly items: unknown[];
  readonly next: string | null;
}

function keyOf(item: unknown): unknown {
  const { id, name, reference } = item as Record<string, unknown>;
  return id ?? name ?? reference;
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCommand, type CommandResult } from '../kit/command.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';

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

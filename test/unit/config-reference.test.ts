import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { runCli } from '../../src/cli/program.ts';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { referencePage } from '../../src/config/reference-page.ts';
import { findSettings, settingsReference, settingText } from '../../src/config/reference.ts';
import { allSettings } from '../../src/config/shape.ts';
import { breaches } from '../kit/json-schema.ts';

const configFolder = new URL('../../config/', import.meta.url);

async function run(...argv: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const exitCode = await runCli(argv, {
    env: {},
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    serve: () => Promise.reject(new Error('nothing is to be served')),
  });
  return { exitCode, out, err };
}

describe('the reference', () => {
  test('has every setting, each explained by itself or with its section', async () => {
    const reference = await settingsReference();
    const explained = new Set(
      reference
        .filter(({ description }) => description !== undefined)
        .map(({ path }) => path.join('.')),
    );

    assert.deepEqual(
      reference.map(({ path, kind }) => `${path.join('.')} ${kind}`),
      allSettings().map(({ path, kind }) => `${path.join('.')} ${kind}`),
    );
    const bare = reference.filter(
      ({ path }) => !path.some((_, at) => explained.has(path.slice(0, at + 1).join('.'))),
    );
    assert.deepEqual(
      bare.map(({ path }) => path.join('.')),
      [],
    );
  });

  test('config/README.md and config/entrepot.schema.json are those of this schema: run npm run docs', async () => {
    const page = await readFile(new URL('README.md', configFolder), 'utf8');
    const schema = await readFile(new URL('entrepot.schema.json', configFolder), 'utf8');

    assert.equal(page, referencePage(await settingsReference()));
    assert.equal(schema, `${JSON.stringify(await configJsonSchema(), undefined, 2)}\n`);
  });

  test('a setting is found by its path with any name of an upstream, and by its last key', async () => {
    const reference = await settingsReference();
    const found = (text: string): string[] =>
      findSettings(reference, text).map(({ path }) => settingText(path));

    assert.deepEqual(found('upstreams.registry.example.com.tls.ca'), ['upstreams.<name>.tls.ca']);
    assert.deepEqual(found('upstreams.docker.io.tagTtl'), ['upstreams.<name>.tagTtl']);
    assert.deepEqual(found('prewarm.keepQuota'), ['prewarm[].keepQuota']);
    assert.deepEqual(found('maxStale'), ['upstreams.<name>.maxStale']);
    assert.deepEqual(found('bandwidth').length, 4);
    assert.deepEqual(found('nothing'), []);
  });

  test('config describe says what a setting does, may be, is by default, and when a change counts', async () => {
    const { out } = await run('config', 'describe', 'upstreams.docker.io.tagTtl');
    const listen = await run('config', 'describe', 'registry.listen');
    const unknown = await run('config', 'describe', 'tagTll');

    assert.match(out, /served without asking again/);
    assert.match(out, /duration, such as 90s/);
    assert.match(out, /default +1m/);
    assert.match(out, /ENTREPOT_UPSTREAMS_<NAME>_TAGTTL/);
    assert.match(out, /in the running mirror/);
    assert.match(listen.out, /at the next start/);
    assert.deepEqual(
      [unknown.exitCode, unknown.err],
      [1, 'entrepot: no setting has the name tagTll; did you mean tagTtl?\n'],
    );
  });
});

describe('the JSON Schema', () => {
  const files = [
    'entrepot.yaml',
    ...['one-host', 'team-lan', 'primary', 'mirror-site', 'air-gap', 'kubernetes'].map(
      (name) => `examples/${name}.yaml`,
    ),
  ];
  for (const file of files) {
    test(`takes ${file} as an editor reads it`, async () => {
      const value: unknown = parse(await readFile(new URL(file, configFolder), 'utf8'));

      assert.deepEqual(breaches(value, await configJsonSchema()), []);
    });
  }

  test('refuses what is not a setting, and values of another kind', async () => {
    const schema = await configJsonSchema();

    assert.deepEqual(breaches({ storag: {} }, schema), ['.storag: not allowed']);
    assert.deepEqual(breaches({ offline: 'perhaps' }, schema), ['.offline: string is not boolean']);
    assert.deepEqual(breaches({ blobUnavailable: 405 }, schema), ['.blobUnavailable: not in enum']);
  });
});

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allSettings } from '../src/config/shape.ts';
import { errorTable } from '../src/oci/errors.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const sourceFolder = join(root, 'src');
const linesMax = 400;

/** Which folders, or rooms of one, a folder may import from, beside itself, and which packages. */
const allowed: Record<string, { folders: string[]; packages: string[] }> = {
  oci: { folders: [], packages: [] },
  base: { folders: [], packages: [] },
  api: { folders: ['oci', 'base'], packages: ['zod'] },
  clients: { folders: [], packages: [] },
  store: { folders: ['oci', 'base'], packages: ['keyv', 'lru-cache'] },
  upstream: { folders: ['oci', 'base'], packages: ['undici'] },
  mirror: {
    folders: ['oci', 'base', 'store', 'upstream'],
    packages: ['lru-cache', 'picomatch', 'semver'],
  },
  access: { folders: ['oci', 'base'], packages: [] },
  schedule: { folders: ['oci', 'base', 'mirror'], packages: ['croner'] },
  http: {
    folders: ['oci', 'base', 'api', 'clients', 'mirror', 'access', 'schedule'],
    packages: [
      'fastify',
      'fastify-type-provider-zod',
      'zod',
      '@fastify/helmet',
      '@fastify/rate-limit',
      '@fastify/static',
      '@fastify/swagger',
      '@fastify/swagger-ui',
    ],
  },
  telemetry: { folders: ['oci', 'base'], packages: ['pino', 'prom-client'] },
  config: { folders: ['oci', 'base', 'mirror/select'], packages: ['croner', 'zod', 'yaml'] },
  cli: {
    folders: ['oci', 'base', 'api', 'clients', 'config'],
    packages: ['commander', 'cli-table3', 'yaml'],
  },
  dashboard: { folders: ['api'], packages: ['preact', '@preact/signals', 'uplot'] },
};

/** These are values and arithmetic: they reach for nothing, not even Node's own modules. */
const pureFolders = new Set(['oci', 'base', 'clients']);

const sources = readdirSync(sourceFolder, { recursive: true, encoding: 'utf8' })
  .filter((path) => /\.tsx?$/.test(path))
  .map((path) => ({ path, text: readFileSync(join(sourceFolder, path), 'utf8') }))
  .sort((a, b) => a.path.localeCompare(b.path));

function importsOf(text: string): string[] {
  const statements = text.matchAll(
    /^\s*(?:import\s+(?:[^'";]*?\sfrom\s+)?|export\s+(?:type\s+)?[*{][^'";]*?\sfrom\s+)['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm,
  );
  return [...statements].map(([, still, dynamic]) => still ?? dynamic ?? '');
}

/** Without comments, and with strings emptied: what is left is code. */
function codeOf(text: string): string {
  return text.replace(
    /\/\*[\s\S]*?\*\/|(?<![:'"`\\])\/\/.*$|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/gm,
    (match) => (match.startsWith('/') ? '' : "''"),
  );
}

/** The folder below `src`; undefined for `main.ts` and `app.ts`, which may import everything. */
function folderOf(path: string): string | undefined {
  const [folder, ...rest] = path.split('/');
  return rest.length === 0 ? undefined : folder;
}

/** What is wrong with `file` importing `specifier`; undefined when nothing is. */
function objectionTo(file: string, specifier: string): string | undefined {
  const folder = folderOf(file);
  // What puts the parts together knows them all.
  if (folder === undefined || folder === 'wiring') return undefined;
  const rules = allowed[folder];
  if (rules === undefined) return `${folder} has no row in the import table`;
  if (specifier.startsWith('.')) {
    const target = relative(sourceFolder, join(sourceFolder, dirname(file), specifier));
    const targetFolder = folderOf(target);
    if (targetFolder === folder) return undefined;
    if (rules.folders.some((one) => target.startsWith(`${one}/`))) return undefined;
    return `${folder} may not import ${target}`;
  }
  if (specifier.startsWith('node:')) {
    return pureFolders.has(folder) ? `${folder} may not import ${specifier}` : undefined;
  }
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  return rules.packages.includes(name) ? undefined : `${folder} may not import the package ${name}`;
}

describe('the house', () => {
  test('every folder imports only what the table allows', () => {
    const objections = sources.flatMap(({ path, text }) =>
      importsOf(text)
        .map((specifier) => objectionTo(path, specifier))
        .filter((objection) => objection !== undefined)
        .map((objection) => `${path}: ${objection}`),
    );

    assert.deepEqual(objections, []);
  });

  test('the table is held: what breaks it is found', () => {
    assert.equal(objectionTo('oci/a.ts', './b.ts'), undefined);
    assert.equal(objectionTo('mirror/a.ts', '../store/b.ts'), undefined);
    assert.equal(objectionTo('app.ts', 'pino'), undefined);
    assert.equal(objectionTo('config/a.ts', '../mirror/select/b.ts'), undefined);
    assert.match(
      objectionTo('config/a.ts', '../mirror/b.ts') ?? '',
      /config may not import mirror/,
    );
    assert.match(
      objectionTo('http/a.ts', '../store/b.ts') ?? '',
      /http may not import store\/b\.ts/,
    );
    assert.match(objectionTo('cli/a.ts', '../app.ts') ?? '', /cli may not import app\.ts/);
    assert.match(objectionTo('store/a.ts', 'undici') ?? '', /package undici/);
    assert.match(objectionTo('base/a.ts', 'node:fs') ?? '', /node:fs/);
    assert.deepEqual(
      importsOf(
        "import a from 'a';\nimport {\n  b,\n} from 'b';\nimport 'c';\nexport type { d } from 'd';\nawait import('e');",
      ),
      ['a', 'b', 'c', 'd', 'e'],
    );
  });

  test('only main.ts touches the process', () => {
    const offenders = sources
      .filter(({ path }) => path !== 'main.ts')
      .filter(
        ({ text }) =>
          /(?<![.\w])process\s*(?:\.|\?\.|\[|\)|;|,)|globalThis\.process\b/.test(codeOf(text)) ||
          importsOf(text).includes('node:process'),
      );

    assert.deepEqual(
      offenders.map(({ path }) => path),
      [],
    );
  });

  test(`no file is longer than ${linesMax} lines`, () => {
    const long = sources
      .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > linesMax);

    assert.deepEqual(long, []);
  });
});

describe('the documents', () => {
  test('README.md explains every error code', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8').replace(/\s+/g, ' ');
    const missing = Object.entries(errorTable)
      .filter(([code, { meaning }]) => !readme.includes(code) || !readme.includes(meaning))
      .map(([code]) => code);

    assert.deepEqual(missing, []);
  });

  test('config/entrepot.yaml names every setting', () => {
    const file = readFileSync(join(root, 'config/entrepot.yaml'), 'utf8');
    const missing = allSettings()
      .map(({ path }) => path.filter((segment) => segment !== '*'))
      .filter(
        (path) => !new RegExp(String.raw`^[\s#]*(?:- |# or: )?${path.at(-1)}:`, 'm').test(file),
      )
      .map((path) => path.join('.'));

    assert.deepEqual(missing, []);
  });
});

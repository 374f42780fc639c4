import { readFile } from 'node:fs/promises';
import { isMap, LineCounter, parseDocument, YAMLSeq, type Document } from 'yaml';
import type { z } from 'zod';
import { readOverrides, type Environment, type Override } from './environment.ts';
import { findMissingFiles, unreadableText } from './files.ts';
import { findPosition } from './locate.ts';
import { findNearest } from './nearest.ts';
import { builtInUpstreamNames, settings, type Config } from './schema.ts';
import type { Secret } from './scalars.ts';
import { allSettings, keysAt } from './shape.ts';

/** One fault. `path` is the dotted path of the setting, or the variable that set it. */
export interface ConfigProblem {
  readonly line?: number;
  readonly column?: number;
  readonly path: string;
  readonly message: string;
}

/** The configuration cannot be used. `problems` are all of its faults; the message has one a line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[], fileName: string | undefined) {
    super(problems.map((problem) => problemText(problem, fileName)).join('\n'));
    this.problems = problems;
  }
}

/** Where the configuration comes from, to be asked again while the server runs. */
export interface ConfigSource {
  /** Undefined: built-in defaults and the environment alone. */
  readonly file: string | undefined;
  /** @throws ConfigError with every fault at once */
  load(): Promise<Config>;
}

/** More than any real configuration; a file of another kind, given by mistake, ends here. */
const fileSizeBytesMax = 4 * 1024 * 1024;

/**
 * Reads `file`, else the file that `ENTREPOT_CONFIG` names, else nothing: the defaults.
 * @throws ConfigError with every fault at once
 */
export async function loadConfig(source: {
  readonly file?: string | undefined;
  readonly env: Environment;
}): Promise<Config> {
  return (await readConfig(source)).config;
}

/**
 * The same for a mirror that is to run by it: the files that it names must be there, too.
 * @throws ConfigError with every fault at once
 */
export async function loadConfigToServe(source: {
  readonly file: string | undefined;
  readonly env: Environment;
}): Promise<Config> {
  const { config, places, fileName } = await readConfig(source);
  const missing = await findMissingFiles(config, source.env);
  const problems = missing.map(({ path, message }) => problemAt(path, message, places, 'value'));
  if (problems.length > 0) throw new ConfigError(inFileOrder(problems), fileName);
  return config;
}

/** A configuration, and where its settings stand. */
interface Parsed {
  readonly config: Config;
  readonly places: Places;
  readonly fileName: string;
}

async function readConfig(source: {
  readonly file?: string | undefined;
  readonly env: Environment;
}): Promise<Parsed> {
  const { env } = source;
  const file = source.file ?? env['ENTREPOT_CONFIG'];
  if (file === undefined || file === '') return parse('', '', env);
  const content = await readText(file, 'the configuration file');
  if (Buffer.byteLength(content) > fileSizeBytesMax) {
    const message = 'the configuration file is larger than 4 MiB; is it the right file?';
    throw new ConfigError([{ path: '', message }], file);
  }
  return parse(content, file, env);
}

/**
 * @param text YAML; empty for the defaults
 * @param fileName as messages shall show it; empty when there is no file
 * @throws ConfigError with every fault at once
 */
export function parseConfig(text: string, fileName: string, env: Environment): Config {
  return parse(text, fileName, env).config;
}

function parse(text: string, fileName: string, env: Environment): Parsed {
  const lines = new LineCounter();
  // The failsafe schema keeps scalars as the text they are: ours say what they mean.
  const document = parseDocument(text, {
    schema: 'failsafe',
    merge: true,
    prettyErrors: false,
    lineCounter: lines,
  });
  const syntax = syntaxProblems(document, lines);
  if (document.errors.some((error) => error.code !== 'DUPLICATE_KEY')) {
    throw new ConfigError(syntax, fileName);
  }

  listLonelyRule(document);
  const given = withoutEmpty(document.toJS()) ?? {};
  const { overrides, problems } = readOverrides(env, upstreamNamesOf(given), secretNamesOf(given));
  for (const override of overrides) apply(given, override);
  const result = settings.safeParse(given, { error: plainMessage });
  const places: Places = { document, lines, overrides };
  const all = inFileOrder([
    ...syntax,
    ...(result.error?.issues ?? []).flatMap((issue) => problemsOf(issue, places)),
  ]);
  all.push(...problems.map(({ variable, message }) => ({ path: variable, message })));
  if (all.length > 0 || !result.success) throw new ConfigError(all, fileName);
  return { config: result.data, places, fileName };
}

function inFileOrder(problems: readonly ConfigProblem[]): ConfigProblem[] {
  return problems.toSorted(
    (a, b) => (a.line ?? Infinity) - (b.line ?? Infinity) || (a.column ?? 0) - (b.column ?? 0),
  );
}

/** `prewarm: { popular: … }` is a list of one rule of that name. */
function listLonelyRule(document: Document): void {
  const rule = document.get('prewarm', true);
  if (!isMap(rule) || !rule.has('popular')) return;
  if (!rule.has('name')) rule.add(document.createPair('name', 'popular'));
  const rules = new YAMLSeq();
  rules.items.push(rule);
  document.set('prewarm', rules);
}

/**
 * The text of a secret, read anew at each call, so that a rotated file counts at once.
 * @throws ConfigError when the file or the variable is not there, or is empty
 */
export async function readSecret(secret: Secret, env: Environment): Promise<string> {
  const where =
    'file' in secret ? `the file ${secret.file}` : `the environment variable ${secret.env}`;
  // Editors and `echo` end a file with a newline that is no part of the secret.
  const text =
    'file' in secret
      ? (await readText(secret.file, 'the file of a secret')).replace(/\r?\n$/, '')
      : (env[secret.env] ?? '');
  if (text !== '') return text;
  const message = `${where} should hold a secret, but is ${'env' in secret ? 'not set' : 'empty'}`;
  throw new ConfigError([{ path: '', message }], undefined);
}

async function readText(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const problem = { path: '', message: `${what} cannot be read: ${unreadableText(error)}` };
    throw new ConfigError([problem], file);
  }
}

function problemText(problem: ConfigProblem, fileName: string | undefined): string {
  const { line, column, path, message } = problem;
  const inFile = line !== undefined && column !== undefined;
  const place = inFile
    ? `${fileName}:${line}:${column}`
    : path === '' && fileName !== undefined
      ? fileName
      : '';
  const subject = [place, path].filter((part) => part !== '').join(' ');
  return subject === '' ? message : `${subject}: ${message}`;
}

/** What a path of the schema can be shown at. */
interface Places {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly overrides: readonly Override[];
}

function syntaxProblems(document: Document, lines: LineCounter): ConfigProblem[] {
  return document.errors.map((error) => {
    const { line, col } = lines.linePos(error.pos[0]);
    const message =
      error.code === 'DUPLICATE_KEY'
        ? 'this key stands twice in one section; keep one of the two'
        : `this is not YAML: ${error.message}`;
    return { line, column: col, path: '', message };
  });
}

function problemsOf(issue: z.core.$ZodIssue, places: Places): ConfigProblem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      const message = unknownKeyMessage(issue.path, key);
      return problemAt(path, message, places, 'key');
    });
  }
  if (issue.code === 'invalid_key') {
    const message = issue.issues[0]?.message ?? issue.message;
    return [problemAt(issue.path, message, places, 'key')];
  }
  return [problemAt(issue.path, issue.message, places, 'value')];
}

function problemAt(
  path: readonly PropertyKey[],
  message: string,
  places: Places,
  prefer: 'key' | 'value',
): ConfigProblem {
  const dotted = path.join('.');
  const variable = places.overrides.find((override) => override.path.join('.') === dotted);
  if (variable !== undefined) return { path: variable.variable, message };
  const position = findPosition(places.document, places.lines, path, prefer);
  return { ...position, path: dotted, message };
}

function unknownKeyMessage(parent: readonly PropertyKey[], key: string): string {
  const known = keysAt(parent);
  const nearest = findNearest(key, known);
  if (nearest !== undefined) return `no setting has this name; did you mean ${nearest}?`;
  const elsewhere = allSettings().find(({ path }) => path.at(-1) === key);
  if (elsewhere !== undefined) {
    const place = elsewhere.path
      .join('.')
      .replace('*', elsewhere.path[0] === 'upstreams' ? '<name>' : '<item>');
    return `this setting does not belong here; its place is ${place}`;
  }
  return `no setting has this name; here there can be ${known.join(', ')}`;
}

/** zod's own messages, for people who write YAML. */
function plainMessage(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_value') {
    const allowed = issue.values.map(String).join(', ');
    const found = typeof issue.input === 'string' ? `, not «${issue.input}»` : '';
    return `it is one of ${allowed}${found}`;
  }
  if (issue.code === 'too_small') return 'the list is empty; give at least one item';
  if (issue.code !== 'invalid_type') return undefined;
  if (issue.input === undefined) return 'it is needed here, but is not set';
  const expected: Record<string, string> = {
    string: 'a single value',
    array: 'a list, for example [one, two]',
    object: 'a section with keys of its own',
    record: 'a section with keys of its own',
  };
  return `it is ${expected[issue.expected] ?? issue.expected}, not ${describe(issue.input)}`;
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'string' ? `the single value «${value}»` : 'a section';
}

/** A key without a value is not set; only an upstream without settings is one with all defaults. */
function withoutEmpty(value: unknown, ownKey = ''): unknown {
  if (value === '' || value === null) return undefined;
  if (Array.isArray(value)) return value.map((item) => withoutEmpty(item));
  if (!isSection(value)) return value;
  const empty = ownKey === 'upstreams' ? {} : undefined;
  const entries = Object.entries(value)
    .map(([key, child]) => [key, withoutEmpty(child, key) ?? empty] as const)
    .filter(([, child]) => child !== undefined);
  return Object.fromEntries(entries);
}

function upstreamNamesOf(given: unknown): readonly string[] {
  const upstreams = isSection(given) ? given['upstreams'] : undefined;
  if (upstreams === undefined) return builtInUpstreamNames();
  return isSection(upstreams) ? Object.keys(upstreams) : [];
}

/** The variables that `{ env: … }` names anywhere in the file. */
function secretNamesOf(given: unknown): Set<string> {
  const names = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, child] of Object.entries(value)) {
      if (key === 'env' && typeof child === 'string') names.add(child);
      else visit(child);
    }
  };
  visit(given);
  return names;
}

/** Sets one scalar; where the file has a wrong kind of parent, that parent's own problem is enough. */
function apply(given: unknown, override: Override): void {
  let section = given;
  for (const [depth, key] of override.path.entries()) {
    if (!isSection(section)) return;
    if (depth === override.path.length - 1) {
      section[key] = override.text;
      return;
    }
    section[key] ??= key === 'upstreams' ? builtInSections() : {};
    section = section[key];
  }
}

function builtInSections(): Record<string, unknown> {
  return Object.fromEntries(builtInUpstreamNames().map((name) => [name, {}]));
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

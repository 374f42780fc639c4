import type { Command } from 'commander';
import { findNearest } from '../config/nearest.ts';
import { configJsonSchema } from '../config/json-schema.ts';
import { referencePage } from '../config/reference-page.ts';
import {
  findSettings,
  settingsReference,
  settingText,
  type SettingReference,
} from '../config/reference.ts';
import { CliFailure, widthOf, type CliIo } from './io.ts';
import { painter, table, wrap } from './text.ts';

/** Longer lines are hard to read. */
const widthMax = 100;

/** `entrepot config describe|schema`: what can be set. */
export function addConfigReference(config: Command, io: CliIo): void {
  config
    .command('describe')
    .argument('[key]', 'a setting by its path, or by its last part')
    .summary('explain the settings')
    .description(
      'Explain one setting: what it does, what may stand there, its default, the variable that sets it, and whether a running mirror takes it. Without a key, list all.',
    )
    .option('--markdown', 'print the whole reference as Markdown')
    .option('--json', 'print the settings as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot config describe\n  entrepot config describe storage\n  entrepot config describe upstreams.docker.io.tagTtl\n  entrepot config describe maxStale',
    )
    .action(async (key: string | undefined, options: { markdown?: boolean; json?: boolean }) => {
      const reference = await settingsReference();
      const found = key === undefined ? reference : foundSettings(key, reference);
      if (options.json === true) {
        const settings = found.map((one) => ({ ...one, path: settingText(one.path) }));
        io.stdout.write(`${JSON.stringify(settings, undefined, 2)}\n`);
      } else if (options.markdown === true) io.stdout.write(referencePage(reference));
      else if (key === undefined) io.stdout.write(`${listOf(reference, io)}\n`);
      else {
        const pages = found.map((setting) => pageOf(setting, reference, io));
        io.stdout.write(`${pages.join('\n\n')}\n`);
      }
    });

  config
    .command('schema')
    .summary('print the JSON Schema of the configuration')
    .description(
      'Print the JSON Schema (2020-12) of the configuration file, for editors that complete and check by it. config/entrepot.schema.json is the same.',
    )
    .addHelpText(
      'after',
      '\nExample:\n  entrepot config schema > entrepot.schema.json\n\nIn the first line of the configuration file:\n  # yaml-language-server: $schema=./entrepot.schema.json',
    )
    .action(async () => {
      io.stdout.write(`${JSON.stringify(await configJsonSchema(), undefined, 2)}\n`);
    });
}

function listOf(settings: readonly SettingReference[], io: CliIo): string {
  const width = widthOf(io.stdout);
  const rows = settings
    .filter(({ kind }) => kind !== 'section')
    .map(({ path, value, defaultText, isRequired }) => [
      settingText(path),
      defaultText ?? (isRequired ? 'needed' : '–'),
      value.length > 40 ? `${value.slice(0, 39)}…` : value,
    ]);
  return table(['SETTING', 'DEFAULT', 'VALUE'], rows, width);
}

/** @throws CliFailure when there is none */
function foundSettings(
  key: string,
  reference: readonly SettingReference[],
): readonly SettingReference[] {
  const found = findSettings(reference, key);
  if (found.length > 0) return found;
  const names = reference.flatMap(({ path }) => [settingText(path), path.at(-1) ?? '']);
  const nearest = findNearest(key, names);
  throw new CliFailure(
    nearest === undefined
      ? `no setting has the name ${key}; entrepot config describe lists them`
      : `no setting has the name ${key}; did you mean ${nearest}?`,
  );
}

function pageOf(
  setting: SettingReference,
  reference: readonly SettingReference[],
  io: CliIo,
): string {
  const paint = painter(io.stdout, io.env);
  const width = Math.min(widthOf(io.stdout), widthMax);
  const { path, kind, value, defaultText, isRequired, variable } = setting;
  const facts: [name: string, text: string | undefined][] = [
    ['value', kind === 'section' ? undefined : value],
    ['default', defaultText ?? (isRequired ? 'none: it is needed' : undefined)],
    ['variable', variable],
    ['changed', changedText(setting)],
  ];
  const below = reference.filter(
    (one) => one.path.length > path.length && path.every((part, at) => one.path[at] === part),
  );
  const told = facts
    .filter(([, text]) => text !== undefined)
    .map(([name, text]) => `  ${paint('dim', name.padEnd(10))}${text}`);
  const lines = [
    paint('bold', settingText(path)),
    ...wrap(explanationOf(setting, reference), width, '  '),
    ...(told.length === 0 ? [] : ['', ...told]),
  ];
  return below.length === 0 ? lines.join('\n') : `${lines.join('\n')}\n\n${listOf(below, io)}`;
}

function changedText({ kind, needsRestart }: SettingReference): string | undefined {
  if (needsRestart) return 'at the next start';
  return kind === 'section' ? undefined : 'in the running mirror';
}

/** Its own, or that of the section in which it is explained. */
function explanationOf({ path }: SettingReference, reference: readonly SettingReference[]): string {
  for (let length = path.length; length > 0; length -= 1) {
    const part = path.slice(0, length).join('.');
    const found = reference.find((one) => one.path.join('.') === part)?.description;
    if (found !== undefined) return found;
  }
  return '';
}

import { settingText, type SettingReference } from './reference.ts';

const head = `# Settings

<!-- Made by \`npm run docs\` from the schema in src/config and the comments in entrepot.yaml. -->

Every setting of Entrepot, with what may stand there and what holds when nothing does. [\`entrepot.yaml\`](entrepot.yaml) is the same as a file to begin with; [\`examples/\`](examples) has whole files. \`entrepot config check\` finds the faults of a file, all at once; \`entrepot config describe KEY\` shows one of these on a terminal. Editors that read \`# yaml-language-server: $schema=…\` complete and check by [\`entrepot.schema.json\`](entrepot.schema.json).

Sizes: \`50GiB\`, \`32g\`, \`500MB\`. Durations: \`90s\`, \`10m\`, \`7d\`, \`1h30m\`. A single value can come from the environment instead: its path in capitals, joined by \`_\`, as in \`ENTREPOT_STORAGE_PATH\` or \`ENTREPOT_UPSTREAMS_DOCKER_IO_TAGTTL\`. Of secrets the file names the place: \`{ file: /path }\` or \`{ env: NAME }\`.

A running mirror takes a changed file by itself, and at SIGHUP. What is marked ↻ waits for the next start; of certificates and tokens that is their place only, their content is read anew.
`;

/** `config/README.md`: the settings for people who read on the web. */
export function referencePage(reference: readonly SettingReference[]): string {
  const groups = Map.groupBy(reference, ({ path: [first = ''] }) => first);
  const single: SettingReference[] = [];
  const parts = [head];
  for (const [name, settings] of groups) {
    const [own, ...below] = settings;
    if (own === undefined || below.length === 0) {
      single.push(...settings);
      continue;
    }
    const note = own.kind === 'list' ? ' A list of rules.' : '';
    parts.push(`## ${name}${own.needsRestart ? ' ↻' : ''}\n\n${own.description ?? ''}${note}\n`);
    parts.push(tableOf(below));
  }
  parts.push('## Beside these\n', tableOf(single));
  return parts.join('\n');
}

function tableOf(settings: readonly SettingReference[]): string {
  const rows = settings.map((setting) => {
    const { path, kind, description = '', value, defaultText, isRequired, needsRestart } = setting;
    const name = `\`${settingText(path)}\`${needsRestart ? ' ↻' : ''}`;
    const preset = defaultText === undefined ? (isRequired ? 'needed' : '') : `\`${defaultText}\``;
    const cells = [name, kind === 'section' ? '' : value, preset, description];
    return `| ${cells.map((cell) => cell.replaceAll('|', String.raw`\|`)).join(' | ')} |`;
  });
  return `| setting | value | default | what it does |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}

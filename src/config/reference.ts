import { needsRestart } from './changes.ts';
import { variableOf } from './environment.ts';
import { configJsonSchema, type JsonSchema } from './json-schema.ts';

/** What there is to know of one setting. */
export interface SettingReference {
  /** `*` stands for the name of an upstream and for the item of a list. */
  readonly path: readonly string[];
  readonly kind: 'scalar' | 'section' | 'list';
  readonly description: string | undefined;
  /** What may stand there. */
  readonly value: string;
  /** As it is written in the file; undefined: not set. */
  readonly defaultText: string | undefined;
  readonly isRequired: boolean;
  /** Undefined where no variable can set it. */
  readonly variable: string | undefined;
  readonly needsRestart: boolean;
}

/** Every setting, sections before what they hold, in the order of the schema. */
export async function settingsReference(): Promise<SettingReference[]> {
  return [...below(await configJsonSchema(), [])];
}

/**
 * The settings that a person means by `text`: one by its path, with any upstream's name; else those
 * whose last key it is.
 */
export function findSettings(
  reference: readonly SettingReference[],
  text: string,
): SettingReference[] {
  const exact = reference.filter(({ path }) => isPath(path, text));
  return exact.length > 0 ? exact : reference.filter(({ path }) => path.at(-1) === text);
}

function isPath(path: readonly string[], text: string): boolean {
  if (settingText(path) === text) return true;
  const pattern = path.map((key, at) => {
    if (key !== '*') return at === 0 ? key : String.raw`\.${key}`;
    return path[at - 1] === 'upstreams' ? String.raw`\..+?` : '';
  });
  return new RegExp(`^${pattern.join('')}$`).test(text.replaceAll('[]', ''));
}

/** As people write it: `upstreams.<name>.tagTtl`, `prewarm[].images`. */
export function settingText(path: readonly string[]): string {
  return path
    .map((key, at) => {
      if (key !== '*') return at === 0 ? key : `.${key}`;
      return path[at - 1] === 'upstreams' ? '.<name>' : '[]';
    })
    .join('');
}

function* below(schema: JsonSchema, path: readonly string[]): Iterable<SettingReference> {
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    const childPath = [...path, key];
    yield referenceOf(child, childPath, schema.required?.includes(key) ?? false);
    yield* below(child, childPath);
  }
  for (const child of [schema.additionalProperties, schema.items]) {
    if (typeof child === 'object') yield* below(child, [...path, '*']);
  }
}

function referenceOf(
  schema: JsonSchema,
  path: readonly string[],
  isRequired: boolean,
): SettingReference {
  const kind = kindOf(schema);
  // Items of lists have no names that a variable could be made of.
  const hasVariable =
    kind === 'scalar' && !path.slice(path[0] === 'upstreams' ? 2 : 0).includes('*');
  const named = path.map((key) => (key === '*' ? '<NAME>' : key));
  return {
    path,
    kind,
    description: schema.description,
    value: valueOf(schema, kind),
    defaultText: defaultOf(schema),
    isRequired,
    variable: hasVariable ? variableOf(named).replace('_NAME_', '<NAME>') : undefined,
    needsRestart: needsRestart(path.join('.')),
  };
}

function defaultOf({ default: value }: JsonSchema): string | undefined {
  if (value === undefined || Array.isArray(value)) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function kindOf(schema: JsonSchema): SettingReference['kind'] {
  if (schema.items !== undefined) return 'list';
  return schema.properties === undefined && typeof schema.additionalProperties !== 'object'
    ? 'scalar'
    : 'section';
}

function valueOf(schema: JsonSchema, kind: SettingReference['kind']): string {
  if (schema.enum !== undefined) return schema.enum.map(String).join(', ');
  if (kind === 'list') {
    const { title } = schema.items ?? {};
    return title === undefined ? 'list of sections' : `list; each ${title}`;
  }
  return schema.title ?? kind;
}

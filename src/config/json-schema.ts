import { z } from 'zod';
import { readExplanations } from './explanations.ts';
import { settings } from './schema.ts';

/** The part of JSON Schema (2020-12) in which the settings are described. */
export interface JsonSchema {
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | false;
  readonly items?: JsonSchema;
}

/** The settings as JSON Schema, made from their zod schema, for editors and for the reference. */
export async function configJsonSchema(): Promise<JsonSchema> {
  const explanations = await readExplanations();
  const { $schema, ...schema } = z.toJSONSchema(settings, { io: 'input', unrepresentable: 'any' });
  const title = 'Configuration of Entrepot';
  return Object.assign({ $schema, title }, forEditors(schema as JsonSchema, [], explanations));
}

/** What stands in YAML: numbers and truth values without quotes, and keys without a value. */
function forEditors(
  schema: JsonSchema,
  path: readonly string[],
  explanations: ReadonlyMap<string, string>,
): JsonSchema {
  const description = explanations.get(path.join('.'));
  const below = (child: JsonSchema, key: string): JsonSchema =>
    forEditors(child, [...path, key], explanations);
  const { default: given, properties, additionalProperties, items, ...rest } = schema;
  const isSection = schema.type === 'object';
  return {
    ...(description === undefined ? {} : { description }),
    ...rest,
    ...(schema.enum === undefined ? {} : enumInYaml(schema.enum)),
    ...(isSection ? { type: ['object', 'null'] } : {}),
    ...(given === undefined || isSection ? {} : { default: valueInYaml(given, schema.type) }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([key, child]) => [key, below(child, key)]),
          ),
        }),
    ...(additionalProperties === undefined
      ? {}
      : {
          additionalProperties:
            additionalProperties === false ? false : below(additionalProperties, '*'),
        }),
    ...(items === undefined ? {} : { items: below(items, '*') }),
  };
}

function enumInYaml(values: readonly unknown[]): JsonSchema {
  const areNumbers = values.every((value) => /^\d+$/.test(String(value)));
  return areNumbers ? { type: 'integer', enum: values.map(Number) } : {};
}

function valueInYaml(value: unknown, type: JsonSchema['type']): unknown {
  if (type === 'boolean') return value === 'true';
  const isNumber = typeof value === 'string' && /^\d+$/.test(value);
  return isNumber ? Number(value) : value;
}

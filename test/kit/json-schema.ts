/** The part of JSON Schema (2020-12) that zod writes. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | false;
  readonly items?: JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly minItems?: number;
  readonly pattern?: string;
}

/** Where `value` breaks `schema`, each with its path; empty when it fits. */
export function breaches(value: unknown, schema: JsonSchema, path = ''): string[] {
  if (schema.anyOf !== undefined) {
    const each = schema.anyOf.map((one) => breaches(value, one, path));
    return each.some((found) => found.length === 0) ? [] : (each[0] ?? []);
  }
  const types = [schema.type ?? []].flat();
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  const isOfType =
    types.length === 0 ||
    types.includes(type) ||
    (types.includes('integer') && Number.isInteger(value));
  if (!isOfType) return [`${path}: ${type} is not ${types.join(' or ')}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${path}: not in enum`];
  if (schema.const !== undefined && schema.const !== value) return [`${path}: not the constant`];
  if (typeof value === 'number') return numberBreaches(value, schema, path);
  if (typeof value === 'string') return textBreaches(value, schema, path);
  if (Array.isArray(value)) {
    const short = value.length < (schema.minItems ?? 0) ? [`${path}: too few`] : [];
    const items = value.flatMap((item, at) => breaches(item, schema.items ?? {}, `${path}[${at}]`));
    return [...short, ...items];
  }
  return type === 'object' ? objectBreaches(value as object, schema, path) : [];
}

function numberBreaches(value: number, schema: JsonSchema, path: string): string[] {
  const { minimum = -Infinity, maximum = Infinity } = schema;
  return value >= minimum && value <= maximum ? [] : [`${path}: ${value} is out of range`];
}

function textBreaches(value: string, schema: JsonSchema, path: string): string[] {
  if (value.length < (schema.minLength ?? 0)) return [`${path}: too short`];
  const isOfPattern = schema.pattern === undefined || new RegExp(schema.pattern).test(value);
  return isOfPattern ? [] : [`${path}: «${value}» does not match`];
}

function objectBreaches(value: object, schema: JsonSchema, path: string): string[] {
  const missing = (schema.required ?? [])
    .filter((key) => !Object.hasOwn(value, key))
    .map((key) => `${path}.${key}: missing`);
  const wrong = Object.entries(value).flatMap(([key, child]) => {
    const below = schema.properties?.[key] ?? schema.additionalProperties ?? {};
    if (below === false) return [`${path}.${key}: not allowed`];
    return breaches(child, below, `${path}.${key}`);
  });
  return [...missing, ...wrong];
}

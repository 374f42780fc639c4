import { z } from 'zod';
import { settings } from './schema.ts';

/**
 * Questions about the list of settings that its own schema answers: which keys are there, and what may
 * stand where. So no other list of keys is kept anywhere.
 */

/** One key of the configuration. `path` has `*` for the name of an upstream and for a list's item. */
export interface Setting {
  readonly path: readonly string[];
  readonly kind: 'scalar' | 'section' | 'list';
}

/** Every key, parents before children, in the order of the schema. */
export function allSettings(): Setting[] {
  return settingsBelow(settings, []);
}

/** The keys that may stand at `path`; none where a value or a list stands. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = settings;
  for (const segment of path) schema = childOf(schema, segment);
  const bare = unwrap(schema);
  return bare instanceof z.ZodObject ? Object.keys(bare.shape) : [];
}

function settingsBelow(schema: unknown, path: readonly string[]): Setting[] {
  const bare = unwrap(schema);
  if (bare instanceof z.ZodObject) {
    const found: Setting[] = [];
    for (const [key, child] of Object.entries(bare.shape)) {
      const childPath = [...path, key];
      found.push({ path: childPath, kind: kindOf(child) }, ...settingsBelow(child, childPath));
    }
    return found;
  }
  if (bare instanceof z.ZodRecord) return settingsBelow(bare.valueType, [...path, '*']);
  if (bare instanceof z.ZodArray) return settingsBelow(bare.element, [...path, '*']);
  return [];
}

function kindOf(schema: unknown): Setting['kind'] {
  const bare = unwrap(schema);
  if (bare instanceof z.ZodArray) return 'list';
  return bare instanceof z.ZodObject || bare instanceof z.ZodRecord ? 'section' : 'scalar';
}

function childOf(schema: unknown, segment: PropertyKey): unknown {
  const bare = unwrap(schema);
  if (bare instanceof z.ZodObject) return bare.shape[String(segment)];
  if (bare instanceof z.ZodRecord) return bare.valueType;
  return bare instanceof z.ZodArray ? bare.element : undefined;
}

/** What is written in the file, under defaults and transformations. */
function unwrap(schema: unknown): unknown {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodPrefault) {
    return unwrap(schema.unwrap());
  }
  return schema instanceof z.ZodPipe ? unwrap(schema.in) : schema;
}

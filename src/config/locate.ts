import { isAlias, isMap, isScalar, isSeq, type Document, type LineCounter, type Node } from 'yaml';

/** Both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/**
 * Where `path` stands in the file: its value when that is a scalar, else its key. Of what is missing,
 * the nearest parent that is there; undefined for the whole document.
 */
export function findPosition(
  document: Document,
  lines: LineCounter,
  path: readonly PropertyKey[],
  prefer: 'key' | 'value' = 'value',
): Position | undefined {
  let node: unknown = document.contents;
  let key: unknown;
  let offset: number | undefined;
  for (const segment of path) {
    const target = isAlias(node) ? node.resolve(document) : node;
    const child = findChild(target, segment);
    if (child === undefined) return positionAt(lines, offset);
    ({ key, value: node } = child);
    offset = offsetOf(key) ?? offsetOf(node) ?? offset;
  }
  const atValue = prefer === 'value' && isScalar(node) && node.value !== '';
  return positionAt(lines, atValue ? (offsetOf(node) ?? offset) : offset);
}

function findChild(
  node: unknown,
  segment: PropertyKey,
): { key: unknown; value: unknown } | undefined {
  if (isMap(node)) {
    const wanted = String(segment);
    return node.items.find(({ key }) => isScalar(key) && String(key.value) === wanted);
  }
  if (!isSeq(node)) return undefined;
  const value = node.items[Number(segment)];
  return value === undefined ? undefined : { key: undefined, value };
}

function offsetOf(node: unknown): number | undefined {
  return (node as Partial<Node> | null | undefined)?.range?.[0];
}

function positionAt(lines: LineCounter, offset: number | undefined): Position | undefined {
  if (offset === undefined) return undefined;
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

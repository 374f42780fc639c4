/** The candidate that a person most likely meant by `text`; undefined when none is close. */
export function findNearest(text: string, candidates: readonly string[]): string | undefined {
  // A third of the letters may be wrong, three at most: tag_ttl finds tagTtl, path does not find port.
  const distanceMax = Math.min(3, Math.max(1, Math.floor(text.length / 3)));
  const wanted = text.toLowerCase();
  let nearest: string | undefined;
  let least = distanceMax + 1;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return nearest;
}

/** Levenshtein's: letters to insert, remove or replace. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let line = 1; line <= from.length; line += 1) {
    const next = [line];
    for (let column = 1; column <= to.length; column += 1) {
      const replace = row[column - 1]! + (from[line - 1] === to[column - 1] ? 0 : 1);
      next.push(Math.min(replace, row[column]! + 1, next[column - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}

/** One challenge of a WWW-Authenticate header; the scheme in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Of all lines together. No real challenge comes near it; a line that goes beyond is not read. */
const headerLengthMax = 8 * 1024;

const token = /[A-Za-z0-9!#$%&'*+.^_`|~-]+/y;
const quoted = /"((?:[^"\\]|\\.)*)"/y;
/** Wider than the grammar's token: some registries send the realm, a URL, without quotes. */
const unquoted = /[^\s",]+/y;
const space = /[ \t]*/y;
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/**
 * Reads challenges as real registries send them: several in one line or several lines, commas inside
 * quotes, unquoted values, blanks around `=`. What cannot be read ends the line; what was read counts.
 * Never throws; time is linear in the length. Source: RFC 9110, 11.6.1.
 */
export function parseChallenges(lines: readonly string[]): Challenge[] {
  const found: Challenge[] = [];
  let left = headerLengthMax;
  for (const line of lines) {
    if (line.length > left) continue;
    left -= line.length;
    readLine(line, found);
  }
  return found;
}

/** Bearer before Basic, whatever the order, when it names a realm; others are not spoken. */
export function findChallenge(lines: readonly string[]): Challenge | undefined {
  const challenges = parseChallenges(lines);
  const bearers = challenges.filter(
    ({ scheme, parameters }) => scheme === 'bearer' && parameters['realm'] !== undefined,
  );
  return (
    bearers.find(({ parameters }) => parameters['realm'] !== '') ??
    challenges.find(({ scheme }) => scheme === 'basic') ??
    bearers[0]
  );
}

function readLine(line: string, found: Challenge[]): void {
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(line);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  let parameters: Record<string, string> | undefined;
  while (at < line.length) {
    take(space);
    if (line[at] === ',') {
      at += 1;
      continue;
    }
    const word = take(token)?.[0];
    if (word === undefined) return;
    const afterWord = at;
    take(space);
    if (line[at] === '=' && parameters !== undefined) {
      at += 1;
      take(space);
      const value = take(quoted)?.[1]?.replaceAll(/\\(.)/g, '$1') ?? take(unquoted)?.[0];
      if (value === undefined) return;
      parameters[word.toLowerCase()] ??= value;
      continue;
    }
    // A word that is no parameter begins the next challenge.
    parameters = Object.create(null) as Record<string, string>;
    found.push({ scheme: word.toLowerCase(), parameters });
    if (at > afterWord) take(token68);
  }
}

import semver from 'semver';
import { isTag } from '../../oci/reference.ts';
import { globMatcher } from './globs.ts';

/** What a rule wants of the tags of a repository. */
export interface TagSelection {
  /** Each by one of the forms of `tagMatcher`; none: all. */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Of those that match, so many of the highest versions. */
  readonly newest?: number | undefined;
}

/**
 * Whether a pattern needs the list of tags: a name without `*`, `?`, braces, ranges or slashes is one
 * tag and can be asked for at once.
 */
export function isExactTag(pattern: string): boolean {
  return isTag(pattern);
}

/**
 * One tag by name; several by glob (`1.*`, `v{1,2}.?`), by regular expression between slashes
 * (`/^1\.\d+$/`), or by a range of versions (`^1.25`, `>=1.2 <2`, `~3.1 || 5`).
 * @throws RangeError for what is none of these
 */
export function tagMatcher(pattern: string): (tag: string) => boolean {
  if (pattern.length > 1 && pattern.startsWith('/') && pattern.endsWith('/')) {
    return regularExpression(pattern.slice(1, -1));
  }
  if (isExactTag(pattern)) return (tag) => tag === pattern;
  if (pattern === '') throw new RangeError('the pattern of tags is empty');
  if (/^[\^~<>=]|\|\||\s/.test(pattern)) {
    const range = semver.validRange(pattern);
    if (range === null)
      throw new RangeError(`«${pattern}» is no range of versions; write for example ^1.25`);
    return (tag) => {
      const version = versionOf(tag);
      return version !== undefined && semver.satisfies(version, range);
    };
  }
  return globMatcher([pattern], { nonegate: true, noextglob: true });
}

/** The wanted ones of some tags; with `newest` the highest version first, else in the given order. */
export function selectTags(
  tags: readonly string[],
  { include, exclude, newest }: TagSelection,
): string[] {
  const wanted = include.map(tagMatcher);
  const unwanted = exclude.map(tagMatcher);
  const found = tags.filter(
    (tag) =>
      (wanted.length === 0 || wanted.some((matches) => matches(tag))) &&
      !unwanted.some((matches) => matches(tag)),
  );
  return newest === undefined ? found : found.sort(byVersion).slice(0, newest);
}

/** `1.27`, `v1.2.3`, `1.27.0-alpine` as versions; undefined for `latest` and the like. */
export function versionOf(tag: string): string | undefined {
  const match = /^v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:[-.]([0-9A-Za-z.-]+))?$/.exec(tag);
  if (match === null) return undefined;
  const [, major, minor = '0', patch = '0', rest] = match;
  const text = `${Number(major)}.${Number(minor)}.${Number(patch)}${rest === undefined ? '' : `-${rest}`}`;
  return semver.valid(text, { loose: true }) ?? undefined;
}

/** Versions before other names, the highest first; what is equal, by name. */
function byVersion(a: string, b: string): number {
  const [left, right] = [versionOf(a), versionOf(b)];
  if (left === undefined || right === undefined) {
    if (left === right) return a < b ? 1 : -1;
    return left === undefined ? 1 : -1;
  }
  const order = semver.rcompare(left, right);
  if (order !== 0) return order;
  return a < b ? 1 : -1;
}

function regularExpression(source: string): (tag: string) => boolean {
  let expression: RegExp;
  try {
    expression = new RegExp(source);
  } catch (error) {
    // V8 begins with the expression, which is said already.
    const why = (error as Error).message.replace(/^.*\/[a-z]*: /s, '');
    throw new RangeError(
      `«/${source}/» is no regular expression: ${why}; write for example /^1\\.\\d+$/`,
    );
  }
  return (tag) => expression.test(tag);
}

import picomatch from 'picomatch';

/**
 * Whether a text fits one of some globs.
 * @throws RangeError for what is none, such as one with an open bracket
 */
export function globMatcher(
  globs: readonly string[],
  options: picomatch.PicomatchOptions = {},
): (text: string) => boolean {
  const matchers = globs.map((glob) => {
    if (glob === '') throw new RangeError('the pattern is empty');
    try {
      return picomatch(glob, { ...options, strictBrackets: true });
    } catch (cause) {
      const why = (cause as Error).message;
      throw new RangeError(`«${glob}» is no pattern: ${why}; write for example 1.* or {a,b}*`, {
        cause,
      });
    }
  });
  return (text) => matchers.some((matches) => matches(text));
}

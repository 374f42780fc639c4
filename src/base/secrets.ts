/** Logins in URLs, their queries (signatures, tokens), and what follows the name of a scheme. */
const secretGrammar =
  /(https?:\/\/)(?:[^\s/@"]+@)?([^\s?#"']*)(\?[^\s"']*)?|\b(bearer|basic) +(?!realm=)[\w+/=.~-]+/gi;

/** Nearly all text is passed on as it is: this is asked of every field of every event. */
function isSuspicious(text: string): boolean {
  return text.includes('://') || (text.includes(' ') && /bearer |basic /i.test(text));
}

/** What may be shown of a text that somebody else has written: a URL's path and no more, no token. */
export function withoutSecrets(text: string): string {
  if (!isSuspicious(text)) return text;
  return text.replace(
    secretGrammar,
    (_whole, scheme?: string, rest?: string, query?: string, kind?: string) =>
      kind === undefined
        ? `${scheme ?? ''}${rest ?? ''}${query === undefined ? '' : '?…'}`
        : `${kind} …`,
  );
}

/** The same for each text of a flat value, such as an event. */
export function fieldsWithoutSecrets<T extends object>(value: T): T {
  let clean = value;
  for (const key in value) {
    const field = value[key];
    if (typeof field !== 'string' || !isSuspicious(field)) continue;
    if (clean === value) clean = { ...value };
    Object.assign(clean, { [key]: withoutSecrets(field) });
  }
  return clean;
}

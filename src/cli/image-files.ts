import { parseAllDocuments } from 'yaml';
import { CliFailure } from './io.ts';

/**
 * The images that a file names, each once, in its order: a compose file, Kubernetes manifests of any
 * kind (several documents, lists, what Helm prints), or a plain list, one to a line with `#` comments.
 * @throws CliFailure when it is none of these
 */
export function imagesIn(
  text: string,
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  const lines = text
    .split('\n')
    .map((line) => line.replace(/(^|\s)#.*/, '').trim())
    .filter((line) => line !== '');
  // An image has no blank in it; YAML has one after each key.
  if (
    lines.length > 0 &&
    lines.every((line) => /^[a-z0-9][^\s]*$/.test(line) && !line.endsWith(':'))
  ) {
    return [...new Set(lines)];
  }
  const found = new Set<string>();
  for (const document of parseAllDocuments(text)) {
    const [error] = document.errors;
    if (error !== undefined)
      throw new CliFailure(`${file} is no YAML: ${error.message.split('\n', 1)[0]}`);
    for (const image of imagesOf(document.toJS() as unknown)) found.add(substitute(image, env));
  }
  if (found.size > 0) return [...found];
  throw new CliFailure(
    `${file} names no image: it should be a compose file, Kubernetes manifests, or a list with an image to a line`,
  );
}

/** `image:` of compose services, and of everything that Kubernetes calls a container or a volume. */
function* imagesOf(value: unknown): Generator<string, void> {
  if (Array.isArray(value)) {
    for (const item of value) yield* imagesOf(item);
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    if (key === 'image' && typeof member === 'string') yield member;
    // An image volume of Kubernetes.
    else if (
      key === 'image' &&
      typeof (member as { reference?: unknown } | null)?.reference === 'string'
    ) {
      yield (member as { reference: string }).reference;
    } else yield* imagesOf(member);
  }
}

/** `${NAME}`, `${NAME:-default}`, `$NAME`, as compose reads them. */
function substitute(image: string, env: Readonly<Record<string, string | undefined>>): string {
  return image.replace(
    /\$\{(\w+)(?::?-([^}]*))?\}|\$(\w+)/g,
    (_, braced: string | undefined, fallback: string | undefined, plain: string | undefined) =>
      (env[braced ?? plain ?? ''] || fallback) ?? '',
  );
}

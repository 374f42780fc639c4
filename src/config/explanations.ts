import { readFile } from 'node:fs/promises';

/** The commented default file, beside `src` and `dist`: the one place where settings are explained. */
const commentedFile = new URL('../../config/entrepot.yaml', import.meta.url);

/**
 * What `config/entrepot.yaml` says of each setting, by path; `*` stands for the name of an upstream and
 * for the item of a list. A setting without a comment of its own is explained with its section.
 */
export async function readExplanations(): Promise<Map<string, string>> {
  return explanationsIn(await readFile(commentedFile, 'utf8'));
}

/** @param text YAML in which comments stand above what they explain, and `#key:` is a key that is not set */
export function explanationsIn(text: string): Map<string, string> {
  const found = new Map<string, string>();
  const parents: { readonly indent: number; readonly key: string }[] = [];
  let comment: string[] = [];
  for (const line of text.split('\n').map(uncommented)) {
    const [, said] = /^\s*# (?!or: \w+:)(.*)$/.exec(line) ?? [];
    if (said !== undefined) {
      comment.push(said.trim());
      continue;
    }
    const [, spaces = '', item, key] = /^(\s*)(- )?(?:# or: )?([\w.-]+):(?=\s|$)/.exec(line) ?? [];
    if (key === undefined) {
      comment = [];
      continue;
    }
    const indent = spaces.length + (item === undefined ? 0 : 2);
    while ((parents.at(-1)?.indent ?? -1) >= indent) parents.pop();
    // `- name: …` is the first key of an item.
    if (item !== undefined || (parents.at(-1)?.indent ?? indent) < indent - 2) {
      parents.push({ indent: indent - 1, key: '*' });
    }
    parents.push({
      indent,
      key: parents.length === 1 && parents[0]?.key === 'upstreams' ? '*' : key,
    });
    const path = parents.map((parent) => parent.key).join('.');
    if (comment.length > 0 && !found.has(path)) found.set(path, comment.join(' '));
    comment = [];
  }
  return found;
}

/** `#  cert: x` is the key of a setting that is not set; `# Words` are a comment. */
function uncommented(line: string): string {
  const [, spaces, rest] = /^(\s*)#((?: {2})*(?:[\w.-]+:|- |# ).*)$/.exec(line) ?? [];
  return rest === undefined ? line : `${spaces}${rest}`;
}

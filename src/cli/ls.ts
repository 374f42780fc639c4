import type { Command } from 'commander';
import type { Manifest, Repository, Tag } from '../api/content.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { CliFailure, widthOf, type CliIo } from './io.ts';
import { ago, number, size, table } from './text.ts';

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
  readonly history?: boolean;
}

/** `entrepot ls` and `entrepot inspect`: what is cached. */
export function addLs(program: Command, io: CliIo): void {
  const ls = program
    .command('ls')
    .argument('[image]', 'a repository, or one of its tags, such as nginx or ghcr.io/o/i:1')
    .summary('list what is cached: repositories, or the tags of one')
    .description('List the repositories of which something is cached, or the tags of one.')
    .option('--history', 'what each tag named before, and when')
    .option('--json', 'print the list as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot ls\n  entrepot ls nginx\n  entrepot ls ghcr.io/o/i:1 --history',
    );
  addServerOptions(ls).action(async (image: string | undefined, options: ListOptions) => {
    const client = new AdminClient(io, options);
    if (image === undefined) await listRepositories(client, io, options);
    else await listTags(client, io, options, nameOf(image));
  });

  const inspect = program
    .command('inspect')
    .argument('<image>', 'a tag or a digest, such as nginx:1.27 or sha256:…')
    .summary('show a cached manifest with its layers or platforms')
    .description(
      'Show a cached manifest: its digest, type and size, and what it names with sizes and whether it is here.',
    )
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExample:\n  entrepot inspect nginx:1.27');
  addServerOptions(inspect).action(async (image: string, options: ListOptions) => {
    const client = new AdminClient(io, options);
    const digest = await digestOf(client, image);
    const manifest = await client.get<Manifest>(`/api/v1/manifests/${digest}`);
    if (options.json === true) io.stdout.write(`${JSON.stringify(manifest, undefined, 2)}\n`);
    else io.stdout.write(`${describe(manifest, widthOf(io.stdout))}\n`);
  });
}

async function listRepositories(
  client: AdminClient,
  io: CliIo,
  { json }: ListOptions,
): Promise<void> {
  const items: Repository[] = [];
  for await (const one of client.list<Repository>('/api/v1/repositories')) items.push(one);
  if (json === true) io.stdout.write(`${JSON.stringify(items, undefined, 2)}\n`);
  else if (items.length === 0) io.stdout.write('Nothing is cached yet.\n');
  else {
    const rows = items.map(({ name, tags }) => [name, number(tags)]);
    io.stdout.write(`${table(['REPOSITORY', 'TAGS'], rows, widthOf(io.stdout), [1])}\n`);
  }
}

async function listTags(
  client: AdminClient,
  io: CliIo,
  { json, history }: ListOptions,
  { repository, tag }: { repository: string; tag: string | undefined },
): Promise<void> {
  const items: Tag[] = [];
  const path = `/api/v1/repositories/${encodeURIComponent(repository)}/tags?sizes=true`;
  for await (const one of client.list<Tag>(path)) {
    if (tag === undefined || one.tag === tag) items.push(one);
  }
  if (json === true) {
    io.stdout.write(`${JSON.stringify(items, undefined, 2)}\n`);
    return;
  }
  if (items.length === 0) {
    throw new CliFailure(
      `nothing of ${repository}${tag === undefined ? '' : `:${tag}`} is cached; «entrepot ls» lists what is`,
    );
  }
  const now = Date.now();
  const width = widthOf(io.stdout);
  if (history !== true) {
    const rows = items.map((one) => [
      one.tag,
      one.digest.slice(0, 19),
      size(one.storedBytes ?? 0),
      ago(one.checkedAt, now),
      usedText(one, now),
      one.isPinned ? 'yes' : 'no',
    ]);
    const heads = ['TAG', 'DIGEST', 'STORED', 'CONFIRMED', 'USED', 'PINNED'];
    io.stdout.write(`${table(heads, rows, width, [2])}\n`);
    return;
  }
  const rows = items.flatMap((one) =>
    one.history.map((moment) => [
      one.tag,
      moment.digest.slice(0, 19),
      ago(moment.firstSeenAt, now),
      ago(moment.lastSeenAt, now),
    ]),
  );
  io.stdout.write(`${table(['TAG', 'DIGEST', 'FIRST SEEN', 'LAST SEEN'], rows, width)}\n`);
}

async function digestOf(client: AdminClient, image: string): Promise<string> {
  const digest = /(?:^|@)(sha\d+:[0-9a-f]+)$/.exec(image)?.[1];
  if (digest !== undefined) return digest;
  const { repository, tag = 'latest' } = nameOf(image);
  const path = `/api/v1/repositories/${encodeURIComponent(repository)}/tags`;
  for await (const one of client.list<Tag>(path)) if (one.tag === tag) return one.digest;
  throw new CliFailure(
    `${repository}:${tag} is not cached; «entrepot ls ${repository}» lists its tags that are`,
  );
}

/** As Docker reads a name: without a registry it is Docker Hub's. */
function nameOf(image: string): { repository: string; tag: string | undefined } {
  const slash = image.lastIndexOf('/');
  const colon = image.indexOf(':', slash + 1);
  const path = colon === -1 ? image : image.slice(0, colon);
  const tag = colon === -1 ? undefined : image.slice(colon + 1);
  const first = path.split('/', 1)[0] ?? '';
  const isFull = path.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  if (isFull) return { repository: path, tag };
  return { repository: `docker.io/${path.includes('/') ? path : `library/${path}`}`, tag };
}

function describe(manifest: Manifest, width: number): string {
  const now = Date.now();
  const parts = [...manifest.blobs, ...manifest.manifests];
  const here = manifest.isComplete ? 'all of it is here' : 'not all of it is here';
  const rows = parts.map((part) => {
    const { os, architecture, variant } = part.platform ?? {};
    const platform = [os, architecture, variant].filter((one) => one !== undefined).join('/');
    const isHere = part.isCached ? 'yes' : 'no';
    const kind = shortType(part.mediaType);
    return [part.digest, kind, platform || '–', size(part.sizeBytes), isHere, usedText(part, now)];
  });
  const pinned = manifest.isPinned ? '; pinned' : '';
  return [
    manifest.digest,
    `${manifest.kind}, ${manifest.mediaType}, ${size(manifest.totalBytes)}; ${here}`,
    `last used ${usedText(manifest, now)}${pinned}`,
    '',
    table(['DIGEST', 'TYPE', 'PLATFORM', 'SIZE', 'HERE', 'USED'], rows, width, [3]),
  ].join('\n');
}

function usedText({ usedAt }: { readonly usedAt: string | null }, now: number): string {
  return usedAt === null ? '–' : ago(usedAt, now);
}

/** What differs between them stands at the end. */
function shortType(mediaType: string): string {
  return mediaType.replace(
    /^application\/vnd\.(?:oci\.image|docker\.(?:container|image|distribution))\./,
    '',
  );
}

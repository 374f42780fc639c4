import type { Command } from 'commander';
import type { Pin, Purged } from '../api/care.ts';
import type { Run } from '../api/runs.ts';
import { parseDurationMs } from '../base/units.ts';
import { addServerOptions, AdminClient, type ServerOptions } from './admin-client.ts';
import { followRun } from './follow-run.ts';
import { exitCodes, usageFailure, widthOf, type CliIo, type Finish } from './io.ts';
import { ago, number, size, table } from './text.ts';

interface CacheOptions extends ServerOptions {
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly olderThan?: string;
  readonly pattern?: readonly string[];
  readonly rollBack?: boolean;
  readonly untagged?: string;
}

const gather = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** `entrepot pin`, `unpin`, `purge`, `gc`, `scrub`: what stays, what goes, and whether it is whole. */
export function addCache(program: Command, io: CliIo, finish: Finish): void {
  addPins(program, io);
  addPurge(program, io, finish);
  addRun(program, io, finish, {
    name: 'gc',
    summary: 'remove content that nothing refers to',
    description:
      'Remove content that no manifest names, and manifests that no tag names and nobody used for a while.',
  });
  addRun(program, io, finish, {
    name: 'scrub',
    summary: 'read everything that is stored, and mend what has changed',
    description:
      'Read everything that is stored and compare it with its digest. What is wrong is put aside and fetched anew. Exit code 1 when something could not be mended.',
  });
}

function addPins(program: Command, io: CliIo): void {
  const pin = program
    .command('pin')
    .argument('[image]', 'such as nginx:1.27; without it the pins are listed')
    .summary('keep an image, whatever the disk budget says')
    .description(
      'Keep an image: its manifests, configs and layers are not evicted, collected or purged. A pinned tag is followed when it moves.',
    )
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExamples:\n  entrepot pin nginx:1.27\n  entrepot pin');
  addServerOptions(pin).action(async (image: string | undefined, options: CacheOptions) => {
    const client = new AdminClient(io, options);
    if (image === undefined) {
      const items = await client.all<Pin>('/api/v1/pins');
      const text = options.json === true ? JSON.stringify(items, undefined, 2) : listOf(items, io);
      io.stdout.write(`${text}\n`);
      return;
    }
    const pinned = await client.ask<Pin>('POST', '/api/v1/pins', { reference: image });
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify(pinned, undefined, 2)}\n`
        : `${pinned.reference} is pinned: ${pinned.keeps} blobs stay\n`,
    );
  });

  const unpin = program
    .command('unpin')
    .argument('<image>', 'as it was pinned')
    .summary('let an image be evicted again')
    .description('Let an image be evicted again. What another pin keeps stays.')
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExample:\n  entrepot unpin nginx:1.27');
  addServerOptions(unpin).action(async (image: string, options: CacheOptions) => {
    const path = `/api/v1/pins?ref=${encodeURIComponent(image)}`;
    await new AdminClient(io, options).ask('DELETE', path);
    const json = JSON.stringify({ reference: image, isPinned: false }, undefined, 2);
    io.stdout.write(`${options.json === true ? json : `${image} is no longer pinned`}\n`);
  });
}

function addPurge(program: Command, io: CliIo, finish: Finish): void {
  const purge = program
    .command('purge')
    .argument('[images...]', 'images, or digests of any content')
    .summary('remove images from the cache')
    .description(
      'Remove images, and of their content what nothing else needs. Pinned images stay; downloads under way end well.',
    )
    .option('--older-than <duration>', 'what was not used for so long, such as 30d')
    .option('--pattern <glob>', 'on registry/name or registry/name:tag; may be repeated', gather)
    .option('--roll-back', 'let the tag name what it named before, and remove nothing')
    .option('--dry-run', 'say what would go and how many bytes, and remove nothing')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot purge --older-than 30d --dry-run\n  entrepot purge nginx:1.27\n  entrepot purge --pattern "ghcr.io/team/**:*-rc*"\n  entrepot purge --roll-back nginx:latest',
    );
  addServerOptions(purge).action(async (images: string[], options: CacheOptions) => {
    checkPurge(images, options);
    const client = new AdminClient(io, options);
    if (options.rollBack === true) return rollBack(client, io, images, options);
    const query = new URLSearchParams(images.map((image) => ['ref', image]));
    for (const pattern of options.pattern ?? []) query.append('pattern', pattern);
    if (options.olderThan !== undefined) query.set('older-than', options.olderThan);
    if (options.dryRun === true) query.set('dryRun', 'true');
    const purged = await client.ask<Purged>('DELETE', `/api/v1/cache?${query.toString()}`);
    io.stdout.write(
      options.json === true ? `${JSON.stringify(purged, undefined, 2)}\n` : textOf(purged),
    );
    finish(purged.errors.length === 0 ? exitCodes.done : exitCodes.failed);
  });
}

/** One way to select what goes; two of them could be read as «both» and as «either». */
function checkPurge(images: readonly string[], options: CacheOptions): void {
  const { olderThan, pattern = [], rollBack: isRollBack = false, dryRun = false } = options;
  if (isRollBack) {
    if (images.length === 0) throw usageFailure('name the tags to roll back');
    if (olderThan === undefined && pattern.length === 0 && !dryRun) return;
    throw usageFailure('--roll-back takes images, and none of --older-than, --pattern, --dry-run');
  }
  const given = [images.length > 0, pattern.length > 0, olderThan !== undefined];
  const count = given.filter(Boolean).length;
  if (count === 0) throw usageFailure('say what to purge: images, --older-than or --pattern');
  if (count > 1) {
    throw usageFailure(
      'purge by images, by --older-than or by --pattern, not by two of them: run it once for each',
    );
  }
  checkDuration('--older-than', olderThan);
}

function checkDuration(option: string, text: string | undefined): void {
  try {
    if (text !== undefined) parseDurationMs(text);
  } catch (error) {
    throw usageFailure(`${option}: ${(error as Error).message}`);
  }
}

async function rollBack(
  client: AdminClient,
  io: CliIo,
  images: readonly string[],
  { json = false }: CacheOptions,
): Promise<void> {
  const done: { reference: string; digest: string }[] = [];
  for (const reference of images) {
    const path = '/api/v1/cache/rollback';
    const { digest } = await client.ask<{ digest: string }>('POST', path, { reference });
    done.push({ reference, digest });
    if (json) continue;
    io.stdout.write(`${reference} names ${digest} again, until upstream says something new\n`);
  }
  if (json) io.stdout.write(`${JSON.stringify(done, undefined, 2)}\n`);
}

function addRun(
  program: Command,
  io: CliIo,
  finish: Finish,
  { name, summary, description }: { name: 'gc' | 'scrub'; summary: string; description: string },
): void {
  const command = program
    .command(name)
    .summary(summary)
    .description(description)
    .option('--json', 'print the run as JSON')
    .addHelpText('after', `\nExamples:\n  entrepot ${name}\n  entrepot ${name} --dry-run`);
  if (name === 'gc') {
    command
      .option(
        '--untagged <duration>',
        'how long a manifest without a tag stays unused (default: storage.gc.untagged)',
      )
      .option('--dry-run', 'say what would go, and remove nothing');
  } else command.option('--dry-run', 'say how much would be read, and read nothing');
  addServerOptions(command).action(async (options: CacheOptions) => {
    checkDuration('--untagged', options.untagged);
    const query = new URLSearchParams();
    if (options.untagged !== undefined) query.set('untagged', options.untagged);
    if (options.dryRun === true) query.set('dryRun', 'true');
    const client = new AdminClient(io, options);
    const run = await client.ask<Run>('POST', `/api/v1/${name}?${query.toString()}`);
    finish(await followRun(client, io, run.id, options.json === true));
  });
}

function listOf(pins: readonly Pin[], io: CliIo): string {
  if (pins.length === 0) return 'Nothing is pinned.';
  const rows = pins.map(({ reference, digest, keeps, by, pinnedAt }) => [
    reference,
    digest.slice(0, 19),
    number(keeps),
    by.join(', '),
    ago(pinnedAt, Date.now()),
  ]);
  return table(['IMAGE', 'DIGEST', 'BLOBS', 'BY', 'PINNED'], rows, widthOf(io.stdout), [2]);
}

function textOf({ isDryRun, log, errors, blobs, bytes, tags, manifests }: Purged): string {
  const lines = [...log, ...errors.map(({ object, message }) => `✗ ${object}: ${message}`)];
  if (tags.length + manifests.length + blobs === 0) {
    // What is kept is said above, and why.
    lines.push(lines.length === 0 ? 'Nothing here matches; nothing was purged.' : 'Nothing goes.');
    return `${lines.join('\n')}\n`;
  }
  const verb = isDryRun ? 'would go' : 'are gone';
  lines.push(`${tags.length} tags and ${blobs} blobs ${verb}: ${size(bytes)}`);
  return `${lines.join('\n')}\n`;
}

import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { imported, type Imported } from '../api/care.ts';
import { addServerOptions, AdminClient, importPath, type ServerOptions } from './admin-client.ts';
import { openArchiveSource } from './archive-source.ts';
import { CliFailure, exitCodes, widthOf, type CliIo, type Finish } from './io.ts';
import { percent, progressBar, size } from './text.ts';

interface ImportOptions extends ServerOptions {
  readonly upstream?: string;
  readonly name?: string;
  readonly json?: boolean;
}

interface ExportOptions extends ServerOptions {
  readonly output: string;
  readonly format: string;
  readonly platform?: readonly string[];
  readonly json?: boolean;
}

/** Progress is drawn this often at most. */
const drawEveryMs = 200;

const gather = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** `entrepot import` and `export`: images as files, for sites without a network. */
export function addArchives(program: Command, io: CliIo, finish: Finish): void {
  addImport(program, io, finish);
  addExport(program, io);
}

function addImport(program: Command, io: CliIo, finish: Finish): void {
  const command = program
    .command('import')
    .argument('<path>', 'a tar, an OCI image layout, or the folder of docker-registry')
    .summary('take in images from an archive or another cache')
    .description(
      'Take in images: a tar of an OCI image layout or of docker save (gzipped or not), the folder of a layout, or the folder of docker-registry (docker/registry/v2). Every blob is verified; what is damaged is passed over and named. Exit code 1 when something was passed over.',
    )
    .option(
      '--upstream <registry>',
      'what the docker-registry folder was a cache of (default: the default upstream)',
    )
    .option('--name <image>', 'for images whose archive gives no full name: registry/name:tag')
    .option('--json', 'print what came of it as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  entrepot import images.tar\n  entrepot import /var/lib/registry --upstream docker.io\n  docker save nginx:1.27 -o nginx.tar && entrepot import nginx.tar',
    );
  addServerOptions(command).action(async (path: string, options: ImportOptions) => {
    const source = await openArchiveSource(path);
    const query = new URLSearchParams();
    if (options.upstream !== undefined) query.set('upstream', options.upstream);
    if (options.name !== undefined) query.set('name', options.name);
    const show = progressOn(io, source.sizeBytes);
    const client = new AdminClient(io, options);
    const answer = await client.upload(
      `${importPath}?${query.toString()}`,
      counted(source.bytes(), show),
    );
    show.end();
    const found = imported.parse(answer);
    io.stdout.write(
      options.json === true ? `${JSON.stringify(found, undefined, 2)}\n` : textOf(found),
    );
    finish(found.skipped.length === 0 ? exitCodes.done : exitCodes.failed);
  });
}

function addExport(program: Command, io: CliIo): void {
  const command = program
    .command('export')
    .argument('<images...>', 'such as nginx:1.27')
    .requiredOption('-o, --output <file>', 'the tar to write')
    .option('--format <format>', 'oci, or docker, which docker load of any version reads', 'oci')
    .option(
      '--platform <platform>',
      'such as linux/arm64; may be repeated (default: what is cached)',
      gather,
    )
    .option('--json', 'print what was written as JSON')
    .summary('write images into one archive')
    .description(
      'Write images into one tar, what they share once. Every blob is verified. It is read by entrepot import, docker load, ctr image import and skopeo (oci-archive:).',
    )
    .addHelpText('after', '\nExample:\n  entrepot export nginx:1.27 redis:7.2 -o images.tar');
  addServerOptions(command).action(async (images: string[], options: ExportOptions) => {
    const query = new URLSearchParams(images.map((image) => ['ref', image]));
    query.set('format', options.format);
    for (const platform of options.platform ?? []) query.append('platform', platform);
    const client = new AdminClient(io, options);
    const { sizeBytes, body } = await client.download(`/api/v1/export?${query.toString()}`);
    const show = progressOn(io, sizeBytes);
    await writeWhole(options.output, counted(body, show));
    show.end();
    const written = { file: options.output, images, sizeBytes: sizeBytes ?? null };
    io.stdout.write(
      options.json === true
        ? `${JSON.stringify(written, undefined, 2)}\n`
        : `${images.length} images are in ${options.output}: ${size(sizeBytes ?? 0)}\n`,
    );
  });
}

/** Under its name only when it is whole. */
async function writeWhole(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const partial = `${path}.partial`;
  try {
    await pipeline(Readable.from(bytes, { objectMode: false }), createWriteStream(partial));
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    if (error instanceof CliFailure) throw error;
    throw new CliFailure(`${path} could not be written: ${(error as Error).message}`);
  }
}

interface ProgressLine {
  add(bytes: number): void;
  end(): void;
}

/** A bar on a terminal, nothing in a pipe. */
function progressOn({ stderr }: CliIo, totalBytes: number | undefined): ProgressLine {
  let done = 0;
  let drawnMs = -Infinity;
  const isShown = stderr.isTTY === true;
  return {
    add: (bytes) => {
      done += bytes;
      if (!isShown || performance.now() - drawnMs < drawEveryMs) return;
      drawnMs = performance.now();
      const share = totalBytes === undefined ? 0 : done / totalBytes;
      const of = totalBytes === undefined ? '' : ` of ${size(totalBytes)}`;
      const bar = totalBytes === undefined ? '' : `${progressBar(share, 30)} ${percent(share)}  `;
      const line = `${bar}${size(done)}${of}`;
      stderr.write(`\r${line.slice(0, widthOf(stderr) - 1)}\u001B[K`);
    },
    end: () => {
      if (isShown) stderr.write('\r\u001B[K');
    },
  };
}

async function* counted(
  bytes: AsyncIterable<Uint8Array>,
  show: ProgressLine,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of bytes) {
    show.add(chunk.length);
    yield chunk;
  }
}

function textOf({ images, blobs, present, bytes, skipped }: Imported): string {
  const lines = images.map(({ reference, digest }) => `${reference}  ${digest}`);
  lines.push(...skipped.map(({ object, reason }) => `✗ ${object}: ${reason}`));
  lines.push(
    `${images.length} images; ${blobs} blobs are new (${size(bytes)}), ${present} were here already, ${skipped.length} passed over`,
  );
  return `${lines.join('\n')}\n`;
}

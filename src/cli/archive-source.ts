import { createReadStream, type Dirent } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { tarBytesOf, tarEnd, tarHeader, tarPadding } from '../base/tar/tar-writer.ts';
import { CliFailure } from './io.ts';

/** An archive on its way to the server. */
export interface ArchiveSource {
  /** Undefined for a compressed one. */
  readonly sizeBytes: number | undefined;
  bytes(): AsyncIterable<Uint8Array>;
}

interface SourceFile {
  readonly path: string;
  readonly name: string;
  readonly sizeBytes: number;
}

/**
 * What is to be imported: a tar, gzipped or not; an OCI image layout; the folder of docker-registry,
 * or the one above it. A folder becomes a tar on the way; nothing is written.
 * @throws CliFailure that says what is wrong with the path
 */
export async function openArchiveSource(path: string): Promise<ArchiveSource> {
  const stat = await lstat(path).catch((error: Error) => {
    throw new CliFailure(`${path} cannot be read: ${error.message}`);
  });
  if (stat.isDirectory()) return folderSource(path);
  const file = await open(path, 'r');
  const head = Buffer.alloc(2);
  await file.read(head, 0, 2, 0).finally(() => file.close());
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  return {
    sizeBytes: isGzip || !stat.isFile() ? undefined : stat.size,
    bytes: () => {
      const source = createReadStream(path, { highWaterMark: 1024 * 1024 });
      if (!isGzip) return source;
      const gunzip = createGunzip();
      source.on('error', (error) => gunzip.destroy(error));
      return source.pipe(gunzip);
    },
  };
}

async function folderSource(folder: string): Promise<ArchiveSource> {
  const files = (await layoutFiles(folder)) ?? (await registryFiles(folder));
  if (files === undefined) {
    throw new CliFailure(
      `${folder} is neither an OCI image layout (no oci-layout in it) nor a folder of docker-registry (no docker/registry/v2 in it)`,
    );
  }
  const sizes = files.map(({ name, sizeBytes }) => tarBytesOf(name, sizeBytes));
  return {
    sizeBytes: sizes.reduce((sum, one) => sum + one, tarEnd().length),
    async *bytes() {
      for (const { path, name, sizeBytes } of files) {
        yield tarHeader(name, sizeBytes);
        yield* contentOf(path, sizeBytes);
        yield tarPadding(sizeBytes);
      }
      yield tarEnd();
    },
  };
}

/** Exactly as much as its header says, should the file change meanwhile. */
async function* contentOf(path: string, sizeBytes: number): AsyncGenerator<Uint8Array, void> {
  if (sizeBytes === 0) return;
  let left = sizeBytes;
  const options = { end: sizeBytes - 1, highWaterMark: 1024 * 1024 };
  for await (const chunk of createReadStream(path, options) as AsyncIterable<Buffer>) {
    left -= chunk.length;
    yield chunk;
  }
  if (left > 0) throw new CliFailure(`${path} became shorter while it was read`);
}

async function layoutFiles(folder: string): Promise<SourceFile[] | undefined> {
  const names = await readdir(folder);
  if (!names.includes('oci-layout')) return undefined;
  const files = await filesBelow(folder, '', () => false);
  return files.filter(({ name }) =>
    /^(?:blobs\/|oci-layout$|index\.json$|manifest\.json$)/.test(name),
  );
}

/** The storage root of docker-registry, or any folder between it and `v2`. */
async function registryFiles(folder: string): Promise<SourceFile[] | undefined> {
  for (const below of ['docker/registry/v2', 'registry/v2', 'v2', '.']) {
    const root = join(folder, below);
    const names = await readdir(root).catch((): string[] => []);
    const isRoot = names.includes('repositories') || (names.includes('blobs') && below !== '.');
    if (!isRoot) continue;
    return filesBelow(root, 'docker/registry/v2/', (name) => name.endsWith('/_uploads'));
  }
  return undefined;
}

/** Plain files, in a fixed order. @param isPassedOver asked of folders, by their name in the archive */
async function filesBelow(
  folder: string,
  prefix: string,
  isPassedOver: (name: string) => boolean,
): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  const visit = async (at: string, name: string): Promise<void> => {
    const entries: Dirent[] = await readdir(at, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(at, entry.name);
      const inside = `${name}${entry.name}`;
      if (entry.isDirectory()) {
        if (!isPassedOver(inside)) await visit(path, `${inside}/`);
      } else if (entry.isFile()) {
        files.push({ path, name: inside, sizeBytes: (await lstat(path)).size });
      }
    }
  };
  await visit(folder, prefix);
  return files;
}

import assert from 'node:assert/strict';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileWatch } from '../../src/config/watch.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

/** A watch, and a promise of its next word. */
async function watching(
  files: readonly string[],
): Promise<{ next: () => Promise<void>; count: () => number } & AsyncDisposable> {
  let count = 0;
  let waiting = Promise.withResolvers<void>();
  const watch = new FileWatch(() => {
    count += 1;
    waiting.resolve();
    waiting = Promise.withResolvers();
  });
  await watch.watch(files);
  return {
    next: () => waiting.promise,
    count: () => count,
    [Symbol.asyncDispose]: () => watch.close(),
  };
}

test('a file is seen to change when it is written, replaced, and when it comes into being', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'entrepot.yaml');
  await using watch = await watching([file]);

  for (const content of ['one', 'two']) {
    const changed = watch.next();
    await writeFile(file, content);
    await changed;
  }
  const changed = watch.next();
  await writeFile(`${file}.new`, 'three');
  await rename(`${file}.new`, file);
  await changed;

  assert.ok(watch.count() >= 3);
});

test('the link that Kubernetes swaps is seen, however often; the same content is not', async () => {
  await using folder = await temporaryFolder();
  const put = async (version: string, content: string): Promise<void> => {
    await mkdir(join(folder.path, version));
    await writeFile(join(folder.path, version, 'entrepot.yaml'), content);
    await symlink(version, join(folder.path, '..data_tmp'));
    await rename(join(folder.path, '..data_tmp'), join(folder.path, '..data'));
  };
  const file = join(folder.path, 'entrepot.yaml');
  await put('..1', 'one');
  await symlink('..data/entrepot.yaml', file);
  await using watch = await watching([file]);

  await put('..2', 'one');
  for (const [version, content] of [
    ['..3', 'two'],
    ['..4', 'three'],
  ] as const) {
    const changed = watch.next();
    await put(version, content);
    await changed;
  }

  assert.equal(watch.count(), 2);
});

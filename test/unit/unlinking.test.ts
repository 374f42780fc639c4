import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { systemDisk } from '../../src/store/disk.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

const diskModule = new URL('../../src/store/disk.ts', import.meta.url).href;

describe('unlinking at once', () => {
  for (const count of [1, 3, 200]) {
    test(`takes each of ${count} away, and says what could not be`, async () => {
      await using folder = await temporaryFolder();
      const files = Array.from({ length: count }, (_, at) => join(folder.path, String(at)));
      for (const file of files) await writeFile(file, 'x');
      const missing = join(folder.path, 'missing');
      const inner = join(folder.path, 'folder');
      await mkdir(inner);

      const results = await systemDisk.unlinkAll([missing, ...files, inner]);

      assert.equal(results.length, count + 2);
      assert.equal(results[0]?.code, 'ENOENT');
      assert.match(results[0].message, /missing/);
      assert.ok(results.slice(1, -1).every((error) => error === undefined));
      // unlink(2): EISDIR on Linux, EPERM by POSIX.
      assert.match(results.at(-1)?.code ?? '', /^(EISDIR|EPERM)$/);
      assert.deepEqual(await readdir(folder.path), ['folder']);
    });
  }

  test('answers each of those who ask at the same time', async () => {
    await using folder = await temporaryFolder();
    const listOf = (name: string): string[] =>
      Array.from({ length: 50 }, (_, at) => join(folder.path, `${name}${at}`));
    const [here, gone] = [listOf('here'), listOf('gone')];
    for (const file of here) await writeFile(file, 'x');

    const [first, second] = await Promise.all([
      systemDisk.unlinkAll(here),
      systemDisk.unlinkAll(gone),
    ]);

    assert.ok(first.every((error) => error === undefined));
    assert.ok(second.every((error) => error?.code === 'ENOENT'));
  });

  test('goes on without a thread where there are no descriptors for one', async () => {
    await using folder = await temporaryFolder();
    const files = Array.from({ length: 50 }, (_, at) => join(folder.path, String(at)));
    for (const file of files) await writeFile(file, 'x');
    const script = `
      import fs from 'node:fs';
      import { systemDisk } from ${JSON.stringify(diskModule)};
      try { for (;;) fs.openSync('/dev/null'); } catch {}
      const results = await systemDisk.unlinkAll(${JSON.stringify(files)});
      process.exitCode = results.every((error) => error === undefined) ? 0 : 3;
    `;

    const node = [process.execPath, '--input-type=module', '--eval', script];
    await promisify(execFile)('sh', ['-c', 'ulimit -n 64 && exec "$@"', 'sh', ...node]);

    assert.deepEqual(await readdir(folder.path), []);
  });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { readTar, TarError } from '../../src/base/tar/tar-reader.ts';
import { tarBytesOf, tarEnd, tarHeader, tarPadding } from '../../src/base/tar/tar-writer.ts';
import { makeBlob } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

interface Member {
  readonly name: string;
  readonly bytes: Buffer;
}

function tarOf(members: readonly Member[]): Buffer {
  return Buffer.concat([
    ...members.flatMap(({ name, bytes }) => [
      tarHeader(name, bytes.length),
      bytes,
      tarPadding(bytes.length),
    ]),
    tarEnd(),
  ]);
}

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** The plain files of an archive. */
async function filesOf(tar: Buffer, pieceBytes: number = 1_000): Promise<Member[]> {
  const files: Member[] = [];
  for await (const { name, type, content, sizeBytes } of readTar(inPieces(tar, pieceBytes))) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(Buffer.from(chunk));
    if (type !== 'file') continue;
    const bytes = Buffer.concat(chunks);
    assert.equal(bytes.length, sizeBytes);
    files.push({ name, bytes });
  }
  return files;
}

const members: readonly Member[] = [
  { name: 'empty', bytes: Buffer.alloc(0) },
  { name: 'a/b', bytes: Buffer.from('x') },
  { name: 'block', bytes: makeBlob('block', 512).bytes },
  { name: `${'long/'.repeat(60)}name`, bytes: makeBlob('long', 513).bytes },
  { name: 'ünïcode/名', bytes: makeBlob('large', 100_001).bytes },
];

describe('a tar', () => {
  for (const pieceBytes of [1, 511, 512, 4_096, 1_000_000]) {
    test(`that arrives in pieces of ${pieceBytes} bytes is read as it was written`, async () => {
      assert.deepEqual(await filesOf(tarOf(members), pieceBytes), members);
    });
  }

  test('is as large as was said before', () => {
    const said = members.reduce((sum, { name, bytes }) => sum + tarBytesOf(name, bytes.length), 0);

    assert.equal(tarOf(members).length, said + tarEnd().length);
  });

  test('members that nobody reads are passed over', async () => {
    const names: string[] = [];

    for await (const { name } of readTar(inPieces(tarOf(members), 700))) names.push(name);

    assert.deepEqual(
      names,
      members.map(({ name }) => name),
    );
  });

  test('a file of 20 GiB has its size in a pax record', async () => {
    const header = Buffer.from(tarHeader('huge', 20 * 1024 ** 3));
    const reading = readTar(inPieces(header, 100));

    const { value } = await reading.next();

    assert.equal(value?.sizeBytes, 20 * 1024 ** 3);
  });

  for (const format of ['gnu', 'ustar', 'pax']) {
    test(`of tar --format=${format} is read, its links as no files; tar reads ours`, async () => {
      await using folder = await temporaryFolder();
      const long = `${'d'.repeat(90)}/${'e'.repeat(60)}`;
      mkdirSync(join(folder.path, 'in', 'd'.repeat(90)), { recursive: true });
      writeFileSync(join(folder.path, 'in', long), 'content');
      symlinkSync('/etc/passwd', join(folder.path, 'in', 'link'));
      const archive = execFileSync('tar', [
        '-C',
        join(folder.path, 'in'),
        `--format=${format}`,
        '-cf',
        '-',
        '.',
      ]);

      const files = await filesOf(archive);
      const ours = execFileSync('tar', ['-tf', '-'], { input: tarOf(members) }).toString();

      assert.deepEqual(
        files.map(({ name, bytes }) => [name.replace(/^\.\//, ''), bytes.toString()]),
        [[long, 'content']],
      );
      assert.equal(ours.trim().split('\n').length, members.length);
    });
  }

  test('that is cut, damaged or none says so', async () => {
    const whole = tarOf(members);
    const damaged = Buffer.from(whole);
    damaged[3] = 0xff;

    for (const bytes of [
      whole.subarray(0, 700),
      damaged,
      Buffer.from('PK\u0003\u0004'.repeat(300)),
    ]) {
      await assert.rejects(filesOf(bytes), TarError);
    }
  });
});

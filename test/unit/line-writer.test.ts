import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LineWriter } from '../../src/telemetry/line-writer.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';

test('lines that nobody reads wait up to a limit; then they are dropped, and their number is told', async (t) => {
  await using folder = await temporaryFolder();
  const pipe = join(folder.path, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  const writer = new LineWriter(fd, 200_000);
  const line = `${'x'.repeat(99)}\n`;
  let dropped = 0;
  writer.onDropped = (lines) => (dropped += lines);

  for (let at = 0; at < 10_000; at += 1) writer.write(line);
  let received = '';
  const buffer = Buffer.alloc(65_536);
  await until('all that was kept is there', () => {
    try {
      received += buffer.toString('latin1', 0, readSync(fd, buffer));
    } catch {
      // Nothing in it now.
    }
    return received.length === 200_000;
  });

  assert.equal(received, line.repeat(2_000));
  assert.equal(dropped, 8_000);
  assert.equal(await writer.close(1_000), true);
});

test('what is left is written at the end; what nobody takes is given up', async (t) => {
  await using folder = await temporaryFolder();
  const pipe = join(folder.path, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  const buffer = Buffer.alloc(65_536);

  const read = new LineWriter(fd);
  read.write('the last line\n');
  const isRead = await read.close(1_000);
  const received = buffer.toString('latin1', 0, readSync(fd, buffer));
  const unread = new LineWriter(fd);
  unread.write('x'.repeat(100_000));
  const startMs = performance.now();
  const isUnread = await unread.close(50);

  assert.deepEqual([isRead, received], [true, 'the last line\n']);
  assert.equal(isUnread, true, 'no write is held');
  assert.ok(performance.now() - startMs < 1_000);
});

test('an output that takes nothing for good is tried again, and costs no more than the lines', async () => {
  const nowhere = 999_999;
  const writer = new LineWriter(nowhere);
  let told = 0;
  writer.onDropped = () => (told += 1);

  for (let at = 0; at < 100; at += 1) writer.write('x'.repeat(1_000));

  assert.equal(await writer.close(1_000), true);
  assert.equal(told, 0);
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand, runInterrupted } from '../kit/command.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

/** What else may listen where somebody thinks the mirror to be. */
async function startServer(answer: RequestListener): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

test('a web page is no answer: no command takes it for one, or writes it to a file', async () => {
  await using folder = await temporaryFolder();
  await using server = await startServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<html>It works!</html>');
  });
  const file = join(folder.path, 'images.tar');

  for (const argv of [['stats'], ['gc'], ['jobs', 'log', 'x'], ['export', 'app:1', '-o', file]]) {
    const { exitCode, err } = await runCommand({}, ...argv, '--server', server.url);

    assert.equal(exitCode, 1, argv.join(' '));
    assert.match(err, /the server answered 200 for \/api\/v1\/.*not Entrepot's admin API/);
  }
  assert.deepEqual(await readdir(folder.path), []);
});

test('an answer that breaks off is told in one line', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
    response.write('{ "items": [', () => response.destroy());
  });

  const { exitCode, err } = await runCommand({}, 'pin', '--server', server.url);

  assert.equal(exitCode, 1);
  assert.match(err, /^entrepot: the connection to the server at http:.* broke .*\n$/);
});

test('Ctrl-C ends a command that waits for an answer, or for the rest of one', async () => {
  await using folder = await temporaryFolder();
  const asked: string[] = [];
  let reached = (): void => {};
  await using server = await startServer((request, response) => {
    asked.push(request.url ?? '');
    if (request.url?.startsWith('/api/v1/export') === true) {
      response.writeHead(200, { 'content-type': 'application/x-tar', 'content-length': 100 });
      response.write('the beginning');
    }
    reached();
  });
  const file = join(folder.path, 'images.tar');

  for (const argv of [['stats'], ['stats', '--watch'], ['gc'], ['export', 'app:1', '-o', file]]) {
    const { promise, resolve } = Promise.withResolvers<void>();
    reached = resolve;
    const pressed = new AbortController();
    const running = runInterrupted({}, pressed.signal, ...argv, '--server', server.url);
    await promise;
    pressed.abort();
    const { exitCode, err } = await running;

    assert.deepEqual(
      [exitCode, err],
      [1, 'entrepot: stopped; what the server has begun it goes on with\n'],
      argv.join(' '),
    );
  }
  assert.equal(asked.length, 4);
  assert.deepEqual(await readdir(folder.path), []);
});

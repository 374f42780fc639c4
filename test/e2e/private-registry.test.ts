import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { makeImage } from '../kit/images.ts';
import { startMirror } from '../kit/mirror.ts';
import { requireProgram } from '../kit/program.ts';
import { pushImage, startDockerRegistry } from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { startTokenFront } from '../kit/token-front.ts';

const login = { username: 'me', password: 'hunter2-is-a-secret' };

test('a private image of a real registry, through its redirects: one token for 20 layers', async (t) => {
  if (!requireProgram(t, 'docker-registry')) return;
  const image = makeImage({ seed: 'private', layers: Array<number>(20).fill(100_000) });
  await using registry = await startDockerRegistry();
  await pushImage(registry.url, 'library/app', '1', image);
  await using front = await startTokenFront(registry.url, login);
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'password');
  await writeFile(path, login.password);
  await using unused = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream: unused,
    settings: {
      urls: [front.url],
      username: login.username,
      password: { file: path },
      redirectHosts: [front.storageHost],
    },
  });

  const manifest = await get(`${mirror.url}/v2/app/manifests/1`);
  const layers = await Promise.all(
    image.layers.map(({ digest }) => get(`${mirror.url}/v2/app/blobs/${digest}`)),
  );

  assert.equal(manifest.digest, image.manifest.digest);
  assert.deepEqual(
    layers.map(({ digest }) => digest),
    image.layers.map(({ digest }) => digest),
  );
  assert.deepEqual([front.tokens.length, front.leaks], [1, 0]);
  const told = JSON.stringify(mirror.events);
  for (const text of [login.password, 's3cret', 'front-token']) {
    assert.equal(told.includes(text), false, `${text} is told`);
  }
});

test('a wrong password at a real registry: 403 with a message, never 401', async (t) => {
  if (!requireProgram(t, 'docker-registry')) return;
  const image = makeImage({ seed: 'private', layers: [1000] });
  await using registry = await startDockerRegistry();
  await pushImage(registry.url, 'library/app', '1', image);
  await using front = await startTokenFront(registry.url, { ...login, password: 'another' });
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'password');
  await writeFile(path, login.password);
  await using unused = await startScriptedRegistry();
  await using mirror = await startMirror({
    upstream: unused,
    settings: { urls: [front.url], username: login.username, password: { file: path } },
  });

  const answer = await get(`${mirror.url}/v2/app/manifests/1`);

  assert.equal(answer.status, 403);
  assert.match(answer.body.toString(), /DENIED.*check username and password/);
});

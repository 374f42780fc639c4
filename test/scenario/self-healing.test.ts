import assert from 'node:assert/strict';
import {
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Digest } from '../../src/oci/digest.ts';
import { get } from '../kit/clients.ts';
import { makeBlob, makeImage, sha256, type Piece } from '../kit/images.ts';
import { startMirror, type TestMirror } from '../kit/mirror.ts';
import { api, ended, type RunAnswer } from '../kit/runs.ts';
import { startScriptedRegistry, type ScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;

function fileOf(mirror: TestMirror, digest: Digest): string {
  const hex = digest.slice('sha256:'.length);
  return join(mirror.storagePath, 'v1', 'blobs', 'sha256', hex.slice(0, 2), hex);
}

async function flipBit(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at] = bytes[at]! ^ 1;
  await writeFile(file, bytes);
}

/** A mirror that holds some blobs on the disk and none of them in memory. */
async function startHolding(
  pieces: readonly Piece[],
  config: Record<string, unknown> = {},
): Promise<{ upstream: ScriptedRegistry; mirror: TestMirror } & AsyncDisposable> {
  const upstream = await startScriptedRegistry();
  const mirror = await startMirror({ upstream, config });
  for (const piece of pieces) {
    upstream.addBlob('library/app', piece);
    await get(`${mirror.url}/v2/app/blobs/${piece.digest}`);
    await mirror.observed('fill-committed', ({ digest }) => digest === piece.digest);
  }
  await mirror.restart();
  return {
    upstream,
    mirror,
    [Symbol.asyncDispose]: async () => {
      await mirror[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

type Damage = (file: string, other: string) => Promise<void>;

const damages: Readonly<Record<string, Damage>> = {
  'a flipped bit at the beginning': (file) => flipBit(file, 0),
  'a flipped bit in the middle': (file) => flipBit(file, mib + 7),
  'a flipped bit at the end': (file) => flipBit(file, 3 * mib + 4),
  'a file cut short': (file) => truncate(file, 2 * mib),
  'an empty file': (file) => truncate(file, 0),
  'a file with bytes after its end': async (file) => {
    await writeFile(file, Buffer.concat([await readFile(file), Buffer.from('x')]));
  },
  'a file swapped with another of the same size': async (file, other) => {
    await rename(other, `${other}-`);
    await rename(file, other);
    await rename(`${other}-`, file);
  },
  'a symbolic link in its place': async (file, other) => {
    await unlink(file);
    await symlink(other, file);
  },
  'no file': (file) => unlink(file),
};

describe('what happened to a file in the cache folder while nobody looked', () => {
  for (const [name, damage] of Object.entries(damages)) {
    test(`${name}: the next pull is right, and the one after it is a hit`, async () => {
      const [blob, other] = [makeBlob('damaged', 3 * mib + 5), makeBlob('other', 3 * mib + 5)];
      await using held = await startHolding([blob, other]);
      const { mirror, upstream } = held;
      await damage(fileOf(mirror, blob.digest), fileOf(mirror, other.digest));
      const url = `${mirror.url}/v2/app/blobs/${blob.digest}`;
      const committed = mirror.observedOf('fill-committed').length;

      const next = await get(url);
      while (mirror.observedOf('fill-committed').length === committed) {
        await mirror.observed(
          'fill-committed',
          (event) => mirror.observedOf('fill-committed').indexOf(event) >= committed,
        );
      }
      const sentBytes = upstream.bytesSent(blob.digest);
      const after = await get(url);

      assert.deepEqual([next.complete, next.digest], [true, blob.digest]);
      assert.deepEqual([after.complete, after.digest], [true, blob.digest]);
      assert.equal(after.headers['x-cache'], 'HIT');
      assert.equal(upstream.bytesSent(blob.digest), sentBytes, 'the second pull asks for nothing');
      assert.equal(sha256(await readFile(fileOf(mirror, blob.digest))), blob.digest);
    });
  }

  test('clients that read it together cost one more transfer, and none sees a wrong byte', async () => {
    const blob = makeBlob('together', 8 * mib);
    await using held = await startHolding([blob]);
    const { mirror, upstream } = held;
    await flipBit(fileOf(mirror, blob.digest), 5 * mib);
    const url = `${mirror.url}/v2/app/blobs/${blob.digest}`;

    const answers = await Promise.all(Array.from({ length: 8 }, () => get(url)));

    for (const { complete, digest } of answers) {
      assert.deepEqual([complete, digest], [true, blob.digest]);
    }
    assert.equal(mirror.observedOf('content-corrupt').length, 1);
    assert.ok(upstream.bytesSent(blob.digest) < 2.2 * blob.bytes.length);
  });

  test('a range that lies in the damage is answered with the right bytes', async () => {
    const blob = makeBlob('range', 4 * mib);
    await using held = await startHolding([blob]);
    await flipBit(fileOf(held.mirror, blob.digest), 2 * mib + 10);

    const answer = await get(`${held.mirror.url}/v2/app/blobs/${blob.digest}`, {
      headers: { Range: `bytes=${2 * mib}-${2 * mib + 99}` },
    });

    assert.equal(answer.status, 206);
    assert.deepEqual(answer.body, blob.bytes.subarray(2 * mib, 2 * mib + 100));
  });

  test('with upstream away it breaks off visibly: nobody gets a whole wrong body', async () => {
    const blob = makeBlob('alone', 2 * mib);
    await using held = await startHolding([blob]);
    await flipBit(fileOf(held.mirror, blob.digest), mib);
    await held.upstream.stop();

    const answer = await get(`${held.mirror.url}/v2/app/blobs/${blob.digest}`);

    assert.equal(answer.complete, false);
    assert.ok(answer.bodyBytes <= mib);
  });

  test('the wrong file is kept aside, within a bound, and counted as used', async () => {
    const blob = makeBlob('aside', mib);
    await using held = await startHolding([blob]);
    await flipBit(fileOf(held.mirror, blob.digest), 9);

    await get(`${held.mirror.url}/v2/app/blobs/${blob.digest}`);

    const aside = await readdir(join(held.mirror.storagePath, 'v1', 'quarantine'));
    assert.equal(aside.length, 1);
    assert.match(aside[0]!, new RegExp(blob.digest.replace(':', '-')));
  });

  test('a manifest that was damaged is fetched anew, and stored anew', async () => {
    const image = makeImage({ seed: 'manifest', layers: [1000] });
    await using upstream = await startScriptedRegistry();
    await using mirror = await startMirror({ upstream });
    upstream.add('library/app', image, '1');
    const path = `/v2/app/manifests/${image.manifest.digest}`;
    await get(`${mirror.url}${path}`);
    await mirror.restart();
    await flipBit(fileOf(mirror, image.manifest.digest), 20);

    const next = await get(`${mirror.url}${path}`);
    await mirror.restart();
    await upstream.stop();
    const later = await get(`${mirror.url}${path}`);

    assert.deepEqual([next.status, next.digest], [200, image.manifest.digest]);
    assert.deepEqual([later.status, later.digest], [200, image.manifest.digest]);
  });

  test('with the checksums lost, small content is verified before it is served', async () => {
    const blob = makeBlob('small', 100_000);
    await using held = await startHolding([blob]);
    for (const name of ['checksums.db', 'checksums.db-wal', 'checksums.db-shm']) {
      await unlink(join(held.mirror.storagePath, 'v1', name)).catch(() => {});
    }
    await flipBit(fileOf(held.mirror, blob.digest), 9);
    await held.mirror.restart();

    const answer = await get(`${held.mirror.url}/v2/app/blobs/${blob.digest}`);

    assert.equal(answer.digest, blob.digest);
    assert.equal(held.mirror.observedOf('content-corrupt').length, 1);
  });

  test('with reads unchecked, a size that is wrong is found all the same', async () => {
    const blob = makeBlob('unchecked', 2 * mib);
    await using held = await startHolding([blob], { storage: { verify: { onRead: 'off' } } });
    const file = fileOf(held.mirror, blob.digest);
    await truncate(file, mib);

    const answer = await get(`${held.mirror.url}/v2/app/blobs/${blob.digest}`);
    await held.mirror.restart();

    assert.equal(answer.digest, blob.digest);
    assert.equal((await stat(file)).size, 2 * mib);
  });
});

test('what a reader found wrong and fetched anew stays, when a scrub that read the old file comes to its end', async () => {
  const blob = makeBlob('scrubbed meanwhile', 12 * mib);
  await using it = await startHolding([blob], {
    storage: { verify: { scrubRate: '8MiB/s' } },
  });
  const { mirror } = it;
  await flipBit(fileOf(mirror, blob.digest), 0);
  const { id } = await api<RunAnswer>(mirror, '/scrub', 'POST');
  await until('the scrub reads it', async () => {
    const { progress } = await api<RunAnswer>(mirror, `/runs/${id}`);
    return progress['blobsTotal'] === 1;
  });

  const answer = await get(`${mirror.url}/v2/app/blobs/${blob.digest}`);
  await until('it is stored anew', () => mirror.observedOf('fill-committed').length === 2);
  const run = await ended(mirror, id);

  assert.equal(answer.digest, blob.digest);
  assert.equal(run.state, 'succeeded');
  assert.equal(mirror.observedOf('content-corrupt').length, 1);
  assert.equal((await stat(fileOf(mirror, blob.digest))).size, blob.bytes.length);
});

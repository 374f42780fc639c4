import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeBlob } from '../kit/images.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { occupiedBytes, storedFiles } from '../kit/store-folder.ts';
import { until } from '../kit/wait-for.ts';

const mib = 1024 * 1024;
const budgetBytes = 200 * mib;

test('24 layers of 20 MiB through 200 MiB, one of them hot, killed half way: within the budget, in order of use', async () => {
  await using upstream = await startScriptedRegistry();
  const [hot, ...cold] = Array.from({ length: 24 }, (_, at) => makeBlob(`layer ${at}`, 20 * mib));
  assert.ok(hot !== undefined);
  for (const blob of [hot, ...cold]) upstream.addBlob('library/app', blob);
  await using mirror = await startEntrepotProcess({
    config: {
      storage: { minFree: '0', maxSize: '200MiB' },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
  });
  const pull = async (digest: string): Promise<string> => {
    const answer = await get(`${mirror.url}/v2/library/app/blobs/${digest}`);
    assert.equal(answer.digest, digest);
    return String(answer.headers['x-cache']);
  };
  await using sampler = startSampler(mirror.storagePath);
  await pull(hot.digest);

  const outputs: string[] = [];
  for (const [at, { digest }] of cold.entries()) {
    if (at === 13) {
      const stored = await storedFiles(mirror.storagePath);
      await until('the order is written', () => {
        return recordedBlobs(mirror.storagePath) >= stored.length;
      });
      outputs.push(mirror.output());
      await mirror.kill();
      await mirror.restart();
    }
    assert.equal(await pull(digest), 'MISS');
    assert.equal(await pull(hot.digest), 'HIT', `after layer ${at}`);
  }
  const evicted = await until('the log has come', () => {
    const found = evictedIn([...outputs, mirror.output()].join('\n'));
    return found.length >= 24 - budgetBytes / (20 * mib) ? found : undefined;
  });

  assert.deepEqual(
    evicted,
    cold.slice(0, evicted.length).map(({ digest }) => digest),
  );
  const { mostBytes, samples } = await sampler.end();
  assert.ok(samples > 50, `${samples} samples`);
  assert.ok(mostBytes <= 1.06 * budgetBytes, `${mostBytes / mib} MiB of 200`);
});

/** Looks at the disk all the time. */
function startSampler(
  storagePath: string,
): AsyncDisposable & { end(): Promise<{ mostBytes: number; samples: number }> } {
  const ending = new AbortController();
  let mostBytes = 0;
  let samples = 0;
  const run = (async () => {
    while (!ending.signal.aborted) {
      mostBytes = Math.max(mostBytes, await occupiedBytes(storagePath));
      samples += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  const end = async (): Promise<{ mostBytes: number; samples: number }> => {
    ending.abort();
    await run;
    return { mostBytes, samples };
  };
  return {
    end,
    [Symbol.asyncDispose]: async () => {
      await end();
    },
  };
}

function evictedIn(log: string): string[] {
  return log
    .split('\n')
    .filter((line) => line.includes('"event":"evicted"'))
    .map((line) => (JSON.parse(line) as { digest: string }).digest);
}

function recordedBlobs(storagePath: string): number {
  const database = new DatabaseSync(join(storagePath, 'v1', 'recency.db'), { readOnly: true });
  try {
    return Number(database.prepare('SELECT count(*) AS blobs FROM recency').get()?.['blobs']);
  } finally {
    database.close();
  }
}

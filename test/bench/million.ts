import { truncateSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { until } from '../kit/wait-for.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { makeImage } from '../kit/images.ts';
import type { Report } from './report.ts';

const blobs = 1_000_000;

/** A start on a million blobs: sparse files, of which the store sees the names and lengths. */
export async function million(): Promise<Report> {
  await using upstream = await startScriptedRegistry();
  const image = makeImage({ seed: 'million', layers: [1_000] });
  upstream.add('library/app', image, '1');
  await using mirror = await startEntrepotProcess({
    config: {
      storage: { minFree: '0', maxSize: '100TiB' },
      upstreams: { 'docker.io': { urls: [upstream.url] } },
    },
  });
  const url = `${mirror.url}/v2/library/app/blobs/${image.config.digest}`;
  await get(url);
  await mirror.stop();
  const folder = join(mirror.storagePath, 'v1', 'blobs', 'sha256');
  await makeSparseBlobs(folder);

  const startMs = performance.now();
  await mirror.restart();
  const hit = await get(url);
  const firstHitMs = performance.now() - startMs;
  const peak = { mib: 0, slowestMs: 0 };
  await until(
    'the disk is counted',
    async () => {
      const askedMs = performance.now();
      await get(url);
      peak.slowestMs = Math.max(peak.slowestMs, performance.now() - askedMs);
      peak.mib = Math.max(peak.mib, await residentMib(mirror.pid));
      return mirror.output().includes('"event":"store-ready"');
    },
    { timeoutMs: 120_000, everyMs: 20 },
  );
  const countedMs = performance.now() - startMs;
  const ready = mirror
    .output()
    .split('\n')
    .find((line) => line.includes('"event":"store-ready"'));
  const counted = (JSON.parse(ready ?? '{}') as { blobs?: number }).blobs ?? 0;
  return {
    title: 'million',
    notes: [
      `${counted} blobs were counted; the first answer was a ${hit.headers['x-cache'] as string}`,
      'from the start of the process, which takes some 0.5 s by itself',
    ],
    figures: [
      { name: 'first hit', unit: 's', values: [firstHitMs / 1000], target: { atMost: 1 } },
      { name: 'all counted', unit: 's', values: [countedMs / 1000], target: { atMost: 30 } },
      { name: 'slowest hit meanwhile', unit: 'ms', values: [peak.slowestMs] },
      { name: 'most memory', unit: 'MiB', values: [peak.mib], target: { atMost: 600 } },
      { name: 'memory then', unit: 'MiB', values: [await residentMib(mirror.pid)] },
    ],
  };
}

async function makeSparseBlobs(folder: string): Promise<void> {
  for (let shard = 0; shard < 256; shard += 1) {
    await mkdir(join(folder, shard.toString(16).padStart(2, '0')), { recursive: true });
  }
  for (let at = 0; at < blobs; at += 1) {
    const hex = createHash('sha256').update(String(at)).digest('hex');
    const file = join(folder, hex.slice(0, 2), hex);
    writeFileSync(file, '');
    truncateSync(file, 1_000 + (at % 100) * 100_000);
  }
}

async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}

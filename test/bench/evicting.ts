import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { get } from '../kit/clients.ts';
import { startEntrepotProcess, type EntrepotProcess } from '../kit/entrepot.ts';
import { storedFiles } from '../kit/store-folder.ts';
import { blobUrl, repository, startLoadClient, startUpstream, untilWarm } from './contenders.ts';
import { quotients, type Report } from './report.ts';

const smallBlobs = 11_000;
const smallBytes = 4_096;
/** What is free at first; what comes then does not fit. */
const spareBytes = 500_000;
const comingBytes = 600_000;
const repetitions = 5;
const connections = 8;
const durationMs = 4_500;

/** Warm manifests while ten thousand small blobs are evicted, against the same without. */
export async function evicting(): Promise<Report> {
  await using upstream = await startUpstream();
  const { digest, mediaType } = await upstream.addImage('v1');
  await using client = startLoadClient();
  const headers = { Accept: mediaType };
  const quietP99: number[] = [];
  const evictingP99: number[] = [];
  const evicted: number[] = [];
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    await using mirror = await startEntrepotProcess({
      config: {
        log: { level: 'warn' },
        storage: {
          minFree: '0',
          maxSize: String(smallBlobs * smallBytes + spareBytes),
          lowWatermark: '5%',
        },
        upstreams: { 'docker.io': { urls: [upstream.url] } },
      },
    });
    await mirror.stop();
    await makeSmallBlobs(mirror, repetition);
    await mirror.restart();
    const url = `${mirror.url}/v2/${repository}/manifests/${digest}`;
    await untilWarm(url, upstream, digest, headers);
    // The first fill of a process compiles what fills: that is no eviction.
    await get(blobUrl(mirror.url, await upstream.addBlob(`first ${repetition}`, smallBytes)));
    const p99 = async (): Promise<number> => {
      const load = { url, headers, connections, requestsEach: 1e9, durationMs };
      return percentile((await client.ask(load)).totalMs, 0.99);
    };
    await p99();
    quietP99.push(await p99());
    const before = (await storedFiles(mirror.storagePath)).length;
    const coming = await upstream.addBlob(`coming ${repetition}`, comingBytes);
    const measured = p99();
    await get(blobUrl(mirror.url, coming));
    evictingP99.push(await measured);
    evicted.push(before - (await storedFiles(mirror.storagePath)).length);
  }
  return {
    title: 'evicting',
    notes: [
      `${connections} connections ask for one manifest for ${durationMs} ms; a blob that does not fit comes meanwhile`,
    ],
    figures: [
      { name: 'blobs evicted meanwhile', values: evicted, target: { atLeast: 10_000 } },
      { name: 'p99 of a manifest, quiet', unit: 'ms', values: quietP99 },
      { name: 'p99 of a manifest, evicting', unit: 'ms', values: evictingP99 },
      {
        name: 'p99: evicting / quiet',
        values: quotients(evictingP99, quietP99),
        target: { atMost: 2 },
      },
    ],
  };
}

async function makeSmallBlobs(mirror: EntrepotProcess, seed: number): Promise<void> {
  const bytes = Buffer.alloc(smallBytes, 1);
  for (let at = 0; at < smallBlobs; at += 1) {
    const hex = createHash('sha256').update(`${seed} ${at}`).digest('hex');
    const folder = join(mirror.storagePath, 'v1', 'blobs', 'sha256', hex.slice(0, 2));
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, hex), bytes);
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
}

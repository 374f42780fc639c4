import { makeBlob } from '../kit/images.ts';
import {
  blobUrl,
  startEntrepot,
  startLoadClient,
  startNginx,
  startRegistry,
  startUpstream,
  untilWarm,
  type LoadClient,
} from './contenders.ts';
import { cpuSecondsOf } from './process-cost.ts';
import { best, interleave, pluck, quotients, repetitionsDefault, type Report } from './report.ts';

const blobBytes = 100 * 1024 * 1024;
const connections = 4;
/** 4.2 GB a round: a hundredth of a second, the step of the clock, is then below 5 % even for nginx. */
const requestsEach = 10;

interface Round {
  readonly gigabytesPerSecond: number;
  readonly cpuSecondsPerGigabyte: number;
}

/** A warm blob of 100 MiB to 4 clients: throughput, and what the server spends on it. */
export async function warmBlob(): Promise<Report> {
  const notes = [`${connections} keep-alive clients, 100 MiB, 4.2 GB a round; one process reads`];
  await using upstream = await startUpstream();
  const seed = 'warm-blob';
  const digest = await upstream.addBlob(seed, blobBytes);
  const { bytes } = makeBlob(seed, blobBytes);
  await using entrepot = await startEntrepot(upstream.url);
  await using registry = await startRegistry({ proxyOf: upstream.url });
  await using nginxOne = await startNginx('1', bytes);
  await using nginxAuto = await startNginx('auto', bytes);
  await using client = startLoadClient();
  if (registry === undefined) notes.push('docker-registry: not installed');
  if (nginxOne === undefined) notes.push('nginx: not installed');
  const contenders: Record<string, () => Promise<Round>> = {};
  for (const contender of [entrepot, nginxOne, nginxAuto, registry]) {
    if (contender === undefined) continue;
    const isNginx = contender === nginxOne || contender === nginxAuto;
    const url = isNginx ? `${contender.url}/blob` : blobUrl(contender.url, digest);
    if (!isNginx) await untilWarm(url, upstream, digest);
    contenders[contender.name] = () => measure(client, url, contender.pid);
  }
  contenders['entrepot again'] = contenders[entrepot.name]!;
  await interleave(1, contenders);

  const rounds = await interleave(repetitionsDefault, contenders);

  const speed = (name: string): number[] =>
    pluck(rounds.get(name), (round) => round.gigabytesPerSecond);
  const cost = (name: string): number[] =>
    pluck(rounds.get(name), (round) => round.cpuSecondsPerGigabyte);
  const names = [...rounds.keys()].filter((name) => name !== 'entrepot again');
  const nginxSpeed = best(Math.max, speed('nginx (workers 1)'), speed('nginx (workers auto)'));
  const nginxCost = best(Math.min, cost('nginx (workers 1)'), cost('nginx (workers auto)'));
  const ratios = [
    {
      name: 'throughput: entrepot / better nginx',
      values: quotients(speed('entrepot'), nginxSpeed),
    },
    {
      name: 'throughput: entrepot / registry proxy',
      values: quotients(speed('entrepot'), speed('registry proxy')),
    },
    { name: 'CPU per GB: entrepot / better nginx', values: quotients(cost('entrepot'), nginxCost) },
    {
      name: 'CPU per GB: entrepot / registry proxy',
      values: quotients(cost('entrepot'), cost('registry proxy')),
    },
    {
      name: 'noise: throughput, entrepot / entrepot again',
      values: quotients(speed('entrepot'), speed('entrepot again')),
    },
    {
      name: 'noise: CPU per GB, entrepot / entrepot again',
      values: quotients(cost('entrepot'), cost('entrepot again')),
    },
  ];
  return {
    title: 'warm-blob',
    notes,
    figures: [
      ...names.map((name) => ({ name: `throughput: ${name}`, unit: 'GB/s', values: speed(name) })),
      ...names.map((name) => ({
        name: `CPU per GB: ${name}`,
        unit: 's',
        values: cost(name),
        target: name === 'entrepot' ? { atMost: 0.25 } : undefined,
      })),
      ...ratios,
    ],
  };
}

async function measure(client: LoadClient, url: string, pid: number): Promise<Round> {
  const cpuBefore = cpuSecondsOf(pid);
  const { bodyBytes, elapsedMs } = await client.ask({ url, connections, requestsEach });
  const cpuSeconds = cpuSecondsOf(pid) - cpuBefore;
  return {
    gigabytesPerSecond: bodyBytes / 1e6 / elapsedMs,
    cpuSecondsPerGigabyte: cpuSeconds / (bodyBytes / 1e9),
  };
}

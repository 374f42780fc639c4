import { blobUrl, startEntrepot, startLoadClient, startUpstream, untilWarm } from './contenders.ts';
import type { Load } from './load-client.ts';
import { residentMibOf } from './process-cost.ts';
import { interleave, pluck, quotients, repetitionsDefault, type Report } from './report.ts';

const blobBytes = 128 * 1024 * 1024;
const stalledClients = 1000;
const fastLoad = { connections: 4, requestsEach: 8 };

interface Round {
  readonly gigabytesPerSecond: number;
  readonly residentMib: number;
}

/** A thousand clients that open a blob and stop reading: memory, and the speed of the others. */
export async function stalled(): Promise<Report> {
  await using upstream = await startUpstream();
  const digest = await upstream.addBlob('stalled', blobBytes);
  await using entrepot = await startEntrepot(upstream.url);
  const idleMib = residentMibOf(entrepot.pid);
  const url = blobUrl(entrepot.url, digest);
  await untilWarm(url, upstream, digest);
  await using client = startLoadClient();
  const measure = async (): Promise<Round> => {
    const { bodyBytes, elapsedMs } = await client.ask({ url, ...fastLoad });
    return {
      gigabytesPerSecond: bodyBytes / 1e6 / elapsedMs,
      residentMib: residentMibOf(entrepot.pid),
    };
  };
  const measureWith = async (where: Pick<Load, 'rangeStepBytes'>): Promise<Round> => {
    // The thousand leave with their process, at the end of each round.
    await using stalling = startLoadClient();
    const load = { url, connections: stalledClients, requestsEach: 1, stall: true, ...where };
    await stalling.ask(load);
    return await measure();
  };
  await measure();

  const rounds = await interleave(repetitionsDefault, {
    'nobody stalled': measure,
    'stalled at one place': () => measureWith({}),
    'stalled at 1,000 places': () => measureWith({ rangeStepBytes: 64 * 1024 }),
  });

  const names = [...rounds.keys()];
  const speed = (name: string): number[] =>
    pluck(rounds.get(name), (round) => round.gigabytesPerSecond);
  return {
    title: 'stalled',
    notes: [
      `${stalledClients} clients open a warm blob of 128 MiB and stop reading; 4 others read 4.3 GB`,
    ],
    figures: [
      { name: 'memory: just started', unit: 'MiB', values: [idleMib] },
      ...names.map((name) => ({
        name: `memory: ${name}`,
        unit: 'MiB',
        values: pluck(rounds.get(name), (round) => round.residentMib),
        target: { atMost: 250 },
      })),
      ...names.map((name) => ({ name: `throughput: ${name}`, unit: 'GB/s', values: speed(name) })),
      ...names.slice(1).map((name) => ({
        name: `throughput: ${name} / nobody stalled`,
        values: quotients(speed(name), speed('nobody stalled')),
        target: { atLeast: 0.9 },
      })),
    ],
  };
}

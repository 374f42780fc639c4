import { readFile } from 'node:fs/promises';
import { makeBlob } from '../kit/images.ts';
import {
  blobUrl,
  startEntrepot,
  startLoadClient,
  startNginx,
  startUpstream,
  untilWarm,
} from './contenders.ts';
import type { Load } from './load-client.ts';
import { residentMibOf, untilQuiet } from './process-cost.ts';
import { interleave, pluck, quotients, repetitionsDefault, type Report } from './report.ts';

const blobBytes = 128 * 1024 * 1024;
const stalledClients = 1000;
const fastLoad = { connections: 4, requestsEach: 8 };

interface Round {
  readonly gigabytesPerSecond: number;
  readonly residentMib: number;
}

/** Where the thousand stall; undefined: nobody does. */
const places: Readonly<Record<string, Pick<Load, 'rangeStepBytes'> | undefined>> = {
  'nobody stalled': undefined,
  'stalled at one place': {},
  'stalled at 1,000 places': { rangeStepBytes: 64 * 1024 },
};

/**
 * A thousand clients that open a blob and stop reading: memory, and the speed of the others. The kernel
 * keeps some 2 GiB for the thousand sockets, its limit, and receive windows stay small then; nginx shows
 * what that is worth. It keeps less where `net.ipv4.tcp_notsent_lowat` says so (tcp(7)); a network
 * namespace has one of its own:
 *
 *   unshare --net sh -c 'ip link set lo up &&
 *     sysctl -w net.ipv4.tcp_notsent_lowat=262144 && npm run bench -- stalled'
 */
export async function stalled(): Promise<Report> {
  const seed = 'stalled';
  await using upstream = await startUpstream();
  const digest = await upstream.addBlob(seed, blobBytes);
  await using entrepot = await startEntrepot(upstream.url);
  await using nginx = await startNginx('auto', makeBlob(seed, blobBytes).bytes);
  const idleMib = residentMibOf(entrepot.pid);
  const url = blobUrl(entrepot.url, digest);
  await untilWarm(url, upstream, digest);
  await using client = startLoadClient();
  const measure = async (
    from: string,
    pid: number,
    where: Pick<Load, 'rangeStepBytes'> | undefined,
  ): Promise<Round> => {
    // The thousand leave with their process, at the end of each round.
    await using stalling = startLoadClient();
    if (where !== undefined) {
      const load = { url: from, connections: stalledClients, requestsEach: 1, stall: true };
      await stalling.ask(Object.assign(load, where));
      // They have their first bytes; the kernel takes some 2 MiB more for each.
      await untilQuiet(pid);
    }
    const { bodyBytes, elapsedMs } = await client.ask({ url: from, ...fastLoad });
    return { gigabytesPerSecond: bodyBytes / 1e6 / elapsedMs, residentMib: residentMibOf(pid) };
  };
  const contenders: Record<string, () => Promise<Round>> = {};
  for (const [name, where] of Object.entries(places)) {
    contenders[name] = () => measure(url, entrepot.pid, where);
    if (nginx === undefined) continue;
    contenders[`${name} (nginx)`] = () => measure(`${nginx.url}/blob`, nginx.pid, where);
  }
  await measure(url, entrepot.pid, undefined);

  const rounds = await interleave(repetitionsDefault, contenders);

  const names = Object.keys(places);
  const speed = (name: string): number[] =>
    pluck(rounds.get(name), (round) => round.gigabytesPerSecond);
  const kept = (name: string, suffix = ''): number[] =>
    quotients(speed(name + suffix), speed(`nobody stalled${suffix}`));
  return {
    title: 'stalled',
    notes: [
      `net.ipv4.tcp_notsent_lowat is ${await sysctl('net/ipv4/tcp_notsent_lowat')}`,
      `${stalledClients} clients open a warm blob of 128 MiB and stop reading; 4 others read 4.3 GB`,
      ...(nginx === undefined ? ['nginx: not installed'] : []),
    ],
    figures: [
      { name: 'memory: just started', unit: 'MiB', values: [idleMib] },
      ...names.map((name) => ({
        name: `memory: ${name}`,
        unit: 'MiB',
        values: pluck(rounds.get(name), (round) => round.residentMib),
        target: { atMost: 250 },
      })),
      ...[...rounds.keys()].map((name) => ({
        name: `throughput: ${name}`,
        unit: 'GB/s',
        values: speed(name),
      })),
      ...names.slice(1).map((name) => ({
        name: `throughput kept: ${name}`,
        values: kept(name),
        target: { atLeast: 0.9 },
      })),
      ...(nginx === undefined ? [] : names.slice(1)).map((name) => ({
        name: `throughput kept: ${name} (nginx)`,
        values: kept(name, ' (nginx)'),
      })),
    ],
  };
}

async function sysctl(name: string): Promise<string> {
  return (await readFile(`/proc/sys/${name}`, 'utf8').catch(() => 'unknown')).trim();
}

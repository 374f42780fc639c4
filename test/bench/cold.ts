import { makeImage } from '../kit/images.ts';
import { pushImage } from '../kit/programs.ts';
import {
  blobUrl,
  repository,
  startEntrepot,
  startLoadClient,
  startRegistry,
  startRelay,
  startUpstream,
  touchPageCache,
  type Contender,
} from './contenders.ts';
import { interleave, pluck, quotients, repetitionsDefault, type Report } from './report.ts';

const blobBytes = 100 * 1024 * 1024;

interface Round {
  readonly firstByteMs: number;
  readonly totalMs: number;
}

/** What a cold pull is compared with: the same blob, pulled from the upstream itself. */
interface Source {
  readonly url: string;
  /** Another blob for each repetition, the same to both contenders. */
  addBlob(repetition: number): Promise<string>;
}

/** Connections of 25 MB/s, 30 ms away: several at once must beat a direct pull. */
export async function coldThrottled(): Promise<Report> {
  await using upstream = await startUpstream({ rateBytesPerSecond: 25_000_000, latencyMs: 30 });
  const rounds = await pullColdAndDirect({
    url: upstream.url,
    addBlob: (repetition) => upstream.addBlob(`cold ${repetition}`, blobBytes),
  });
  return reportOf(rounds, {
    title: 'cold-throttled',
    notes: ['one cold blob of 100 MiB; upstream gives each connection 25 MB/s, after 30 ms'],
    totalRatioMax: 0.4,
    firstByteMsMax: 10,
  });
}

/** One connection at the speed of a gigabit link: what the mirror itself adds at a usual line rate. */
export async function coldGigabit(): Promise<Report> {
  await using upstream = await startUpstream({ rateBytesPerSecond: 125_000_000 });
  const source = {
    url: upstream.url,
    addBlob: (repetition: number) => upstream.addBlob(`cold ${repetition}`, blobBytes),
  };
  return reportOf(await pullColdAndDirect(source, { connectionsPerBlob: 1 }), {
    title: 'cold-gigabit',
    notes: ['one cold blob of 100 MiB over one connection of 125 MB/s, none allowed beside it'],
    totalRatioMax: 1.1,
    firstByteMsMax: 10,
  });
}

/**
 * An upstream as fast as this machine, which upstream, mirror and client share: what the mirror itself
 * adds. Two peers show what there is to add: one only hands on, the other one stores.
 */
export async function coldUnthrottled(): Promise<Report> {
  await using registry = await startRegistry();
  await using scripted = await startUpstream();
  const fromRegistry = async (repetition: number): Promise<string> => {
    const image = makeImage({ seed: repetition, layers: [blobBytes] });
    await pushImage(registry?.url ?? '', repository, `v${repetition}`, image);
    return image.layers[0]!.digest;
  };
  const url = registry?.url ?? scripted.url;
  await using relay = await startRelay(url);
  await using proxy = await startRegistry({ proxyOf: url });
  const peers = [relay, proxy].filter((peer) => peer !== undefined);
  const source = {
    url,
    addBlob: (repetition: number) =>
      registry === undefined
        ? scripted.addBlob(`cold ${repetition}`, blobBytes)
        : fromRegistry(repetition),
  };
  const rounds = await pullColdAndDirect(source, {}, peers);
  const upstream =
    registry === undefined
      ? 'our scripted one (docker-registry: not installed)'
      : 'docker-registry';
  return reportOf(rounds, {
    title: 'cold-unthrottled',
    notes: [
      `one cold blob of 100 MiB; upstream is ${upstream}, unthrottled, on the same processors`,
    ],
    totalRatioMax: 1.1,
    firstByteMsMax: 10,
  });
}

async function pullColdAndDirect(
  source: Source,
  settings: Readonly<Record<string, unknown>> = {},
  peers: readonly Contender[] = [],
): Promise<Map<string, Round[]>> {
  await using entrepot = await startEntrepot(source.url, settings);
  await using client = startLoadClient();
  const digests = new Map<number, string>();
  const pull = async (baseUrl: string, repetition: number): Promise<Round> => {
    const digest = digests.get(repetition) ?? (await source.addBlob(repetition));
    digests.set(repetition, digest);
    const url = blobUrl(baseUrl, digest);
    await touchPageCache();
    const { firstByteMs, totalMs } = await client.ask({ url, connections: 1, requestsEach: 1 });
    return { firstByteMs: Math.max(...firstByteMs), totalMs: Math.max(...totalMs) };
  };
  // One round that does not count: code is compiled, connections are open.
  await pull(source.url, -1);
  await pull(entrepot.url, -1);
  const contenders: Record<string, (repetition: number) => Promise<Round>> = {
    direct: (repetition) => pull(source.url, repetition),
    entrepot: (repetition) => pull(entrepot.url, repetition),
  };
  for (const { name, url } of peers) {
    contenders[name] = (repetition) => pull(url, repetition);
  }
  return await interleave(repetitionsDefault, contenders);
}

function reportOf(
  rounds: ReadonlyMap<string, readonly Round[]>,
  about: Pick<Report, 'title' | 'notes'> & {
    readonly totalRatioMax: number;
    readonly firstByteMsMax: number;
  },
): Report {
  const total = (name: string): number[] => pluck(rounds.get(name), (round) => round.totalMs);
  const first = (name: string): number[] => pluck(rounds.get(name), (round) => round.firstByteMs);
  const direct = first('direct');
  const peers = [...rounds.keys()].filter((name) => name !== 'direct' && name !== 'entrepot');
  const late = first('entrepot').map((ms, at) => ms - (direct[at] ?? Number.NaN));
  return {
    title: about.title,
    notes: about.notes,
    figures: [
      { name: 'time: direct', unit: 'ms', values: total('direct') },
      { name: 'time: entrepot', unit: 'ms', values: total('entrepot') },
      { name: 'first byte: direct', unit: 'ms', values: direct },
      { name: 'first byte: entrepot', unit: 'ms', values: first('entrepot') },
      {
        name: 'time: entrepot / direct',
        values: quotients(total('entrepot'), total('direct')),
        target: { atMost: about.totalRatioMax },
      },
      ...peers.map((name) => ({
        name: `time: ${name} / direct`,
        values: quotients(total(name), total('direct')),
      })),
      {
        name: 'first byte: entrepot − direct',
        unit: 'ms',
        values: late,
        target: { atMost: about.firstByteMsMax },
      },
    ],
  };
}

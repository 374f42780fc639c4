import {
  blobUrl,
  startEntrepot,
  startLoadClient,
  startRegistry,
  startUpstream,
  touchPageCache,
} from './contenders.ts';
import { interleave, pluck, quotients, repetitionsDefault, type Report } from './report.ts';

const blobBytes = 100 * 1024 * 1024;
const clients = 16;

interface Round {
  /** What upstream sent, in blobs. */
  readonly amplification: number;
  /** The slowest client's time over the fastest one's. */
  readonly spread: number;
  readonly slowestMs: number;
}

/** Clients that ask for one cold blob at once: what upstream is asked for, and how alike they fare. */
export async function stampede(): Promise<Report> {
  await using upstream = await startUpstream();
  await using entrepot = await startEntrepot(upstream.url);
  await using registry = await startRegistry({ proxyOf: upstream.url });
  await using client = startLoadClient();
  let serial = 0;
  const contenders: Record<string, () => Promise<Round>> = {};
  for (const contender of [entrepot, registry]) {
    if (contender === undefined) continue;
    contenders[contender.name] = async () => {
      const digest = await upstream.addBlob(`stampede ${(serial += 1)}`, blobBytes);
      const url = blobUrl(contender.url, digest);
      await touchPageCache();
      const { totalMs } = await client.ask({ url, connections: clients, requestsEach: 1 });
      const sentBytes = await upstream.bytesSent(digest);
      await upstream.remove(digest);
      return {
        amplification: sentBytes / blobBytes,
        spread: Math.max(...totalMs) / Math.min(...totalMs),
        slowestMs: Math.max(...totalMs),
      };
    };
  }
  await interleave(1, contenders);

  const rounds = await interleave(repetitionsDefault, contenders);

  const names = [...rounds.keys()];
  const slowest = (name: string): number[] => pluck(rounds.get(name), (round) => round.slowestMs);
  return {
    title: 'stampede',
    notes: [
      `${clients} clients at once ask for one cold blob of 100 MiB; the upstream is as fast as it can`,
      ...(registry === undefined ? ['docker-registry: not installed'] : []),
    ],
    figures: [
      ...names.map((name) => ({
        name: `upstream bytes / blob: ${name}`,
        values: pluck(rounds.get(name), (round) => round.amplification),
        target: name === 'entrepot' ? { atMost: 1.01 } : undefined,
      })),
      ...names.map((name) => ({
        name: `slowest / fastest client: ${name}`,
        values: pluck(rounds.get(name), (round) => round.spread),
        target: name === 'entrepot' ? { atMost: 1.1 } : undefined,
      })),
      ...names.map((name) => ({
        name: `slowest client: ${name}`,
        unit: 'ms',
        values: slowest(name),
      })),
      ...(registry === undefined
        ? []
        : [
            {
              name: 'slowest client: entrepot / registry proxy',
              values: quotients(slowest('entrepot'), slowest('registry proxy')),
            },
          ]),
    ],
  };
}

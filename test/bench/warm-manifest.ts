import { tryRun } from '../kit/program.ts';
import {
  repository,
  startEntrepot,
  startLoadClient,
  startRegistry,
  startUpstream,
  untilWarm,
  type Contender,
  type LoadClient,
} from './contenders.ts';
import { cpuSecondsOf } from './process-cost.ts';
import { interleave, pluck, quotients, repetitionsDefault, type Report } from './report.ts';

const connections = 16;
const durationSeconds = 4;
const tag = 'v1';

interface Round {
  readonly requestsPerSecond: number;
  readonly cpuMicrosecondsPerRequest: number;
}

/** One manifest over and over, by digest and by a tag that upstream need not be asked about. */
export async function warmManifest(): Promise<Report> {
  await using upstream = await startUpstream();
  const { digest, mediaType } = await upstream.addImage(tag);
  await using entrepot = await startEntrepot(upstream.url);
  await using registry = await startRegistry({ proxyOf: upstream.url });
  await using client = startLoadClient();
  const isWrkInstalled = (await tryRun('wrk', ['-v'])).code !== -1;
  const headers = { Accept: mediaType };
  const contenders: Record<string, () => Promise<Round>> = {};
  for (const reference of [digest, tag]) {
    for (const contender of [entrepot, registry]) {
      if (contender === undefined) continue;
      const url = `${contender.url}/v2/${repository}/manifests/${reference}`;
      await untilWarm(url, upstream, digest, headers);
      const by = reference === tag ? 'by tag' : 'by digest';
      contenders[`${contender.name} ${by}`] = () =>
        measure(contender, () =>
          isWrkInstalled ? runWrk(url, headers) : runClient(client, url, headers),
        );
    }
  }
  await interleave(1, contenders);

  const rounds = await interleave(repetitionsDefault, contenders);

  const rate = (name: string): number[] =>
    pluck(rounds.get(name), (round) => round.requestsPerSecond);
  const against = (by: string) => ({
    name: `requests: entrepot / registry proxy, ${by}`,
    values: quotients(rate(`entrepot ${by}`), rate(`registry proxy ${by}`)),
    target: { atLeast: 20 },
  });
  return {
    title: 'warm-manifest',
    notes: [
      `${connections} connections, ${durationSeconds} s a round, ${isWrkInstalled ? 'wrk with one thread' : 'our own client (wrk: not installed), which may be the limit'}`,
      ...(registry === undefined ? ['docker-registry: not installed'] : []),
    ],
    figures: [
      ...[...rounds.keys()].map((name) => ({
        name: `requests: ${name}`,
        unit: '/s',
        values: rate(name),
      })),
      ...[...rounds.keys()].map((name) => ({
        name: `CPU per request: ${name}`,
        unit: 'µs',
        values: pluck(rounds.get(name), (round) => round.cpuMicrosecondsPerRequest),
      })),
      ...(registry === undefined ? [] : [against('by digest'), against('by tag')]),
    ],
  };
}

interface Answered {
  readonly requests: number;
  readonly seconds: number;
}

async function measure(contender: Contender, load: () => Promise<Answered>): Promise<Round> {
  const cpuBefore = cpuSecondsOf(contender.pid);
  const { requests, seconds } = await load();
  const cpuSeconds = cpuSecondsOf(contender.pid) - cpuBefore;
  return {
    requestsPerSecond: requests / seconds,
    cpuMicrosecondsPerRequest: (cpuSeconds * 1e6) / requests,
  };
}

type Headers = Readonly<Record<string, string>>;

async function runWrk(url: string, headers: Headers): Promise<Answered> {
  const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const args = ['-t1', `-c${connections}`, `-d${durationSeconds}s`, ...fields, url];
  const { code, stdout, stderr } = await tryRun('wrk', args);
  const text = stdout.toString();
  const [, requests] = /(\d+) requests in/.exec(text) ?? [];
  const [, rate] = /Requests\/sec: +([\d.]+)/.exec(text) ?? [];
  const hasFailed = code !== 0 || /Non-2xx|Socket errors/.test(text);
  if (hasFailed || requests === undefined || rate === undefined) {
    throw new Error(`wrk at ${url}: ${text}${stderr}`);
  }
  return { requests: Number(requests), seconds: Number(requests) / Number(rate) };
}

async function runClient(client: LoadClient, url: string, headers: Headers): Promise<Answered> {
  const durationMs = durationSeconds * 1000;
  const load = { url, headers, connections, requestsEach: 1e9, durationMs };
  const { requests, elapsedMs } = await client.ask(load);
  return { requests, seconds: elapsedMs / 1000 };
}

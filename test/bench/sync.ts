import { startEntrepotProcess } from '../kit/entrepot.ts';
import { makeImage } from '../kit/images.ts';
import { startLine } from '../kit/line.ts';
import { findProgram } from '../kit/program.ts';
import {
  pushImage,
  startDockerRegistry,
  startSkopeo,
  type DockerRegistry,
} from '../kit/programs.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { until } from '../kit/wait-for.ts';
import { interleave, pluck, quotients, type Report } from './report.ts';

const images = 100;

/** Of each image; with all of them 2 GiB. */
const layers = [12 * 1024 * 1024, 8 * 1024 * 1024 + 400_000];

const repetitions = 3;

const name = 'library/app';

interface Round {
  readonly seconds: number;
  readonly bytes: number;
}

/** The first copy of 100 images from a plain registry, beside `skopeo sync` into another one. */
export async function sync(): Promise<Report> {
  if (findProgram('skopeo') === undefined || findProgram('docker-registry') === undefined) {
    return { title: 'sync', notes: ['skopeo or docker-registry: not installed'], figures: [] };
  }
  await using primary = await startDockerRegistry();
  let contentBytes = 0;
  for (let at = 0; at < images; at += 1) {
    const image = makeImage({ seed: `sync ${at}`, layers });
    contentBytes += image.layers.reduce((sum, { bytes }) => sum + bytes.length, 0);
    await pushImage(primary.url, name, `v${at}`, image);
  }
  const contenders = {
    entrepot: () => copyByEntrepot(primary),
    'skopeo sync': () => copyBySkopeo(primary),
  };
  const rounds = await interleave(repetitions, contenders);
  const seconds = (of: string): number[] => pluck(rounds.get(of), (round) => round.seconds);
  const shares = (of: string): number[] =>
    pluck(rounds.get(of), ({ bytes }) => bytes / contentBytes);
  return {
    title: 'sync',
    notes: [
      `${images} images, ${(contentBytes / 2 ** 30).toFixed(2)} GiB, from docker-registry; skopeo sync copies into another docker-registry`,
    ],
    figures: [
      { name: 'time: entrepot', unit: 's', values: seconds('entrepot') },
      { name: 'time: skopeo sync', unit: 's', values: seconds('skopeo sync') },
      {
        name: 'time: entrepot / skopeo sync',
        values: quotients(seconds('entrepot'), seconds('skopeo sync')),
        target: { atMost: 1 },
      },
      {
        name: 'bytes on the line / content: entrepot',
        values: shares('entrepot'),
        target: { atMost: 1.02 },
      },
      { name: 'bytes on the line / content: skopeo sync', values: shares('skopeo sync') },
    ],
  };
}

async function copyByEntrepot(primary: DockerRegistry): Promise<Round> {
  await using line = await startLine(primary.url);
  await using nothing = await startScriptedRegistry();
  await using site = await startEntrepotProcess({
    config: {
      log: { level: 'warn' },
      upstreams: { 'docker.io': { urls: [nothing.url] } },
      site: {
        name: 'bench',
        primary: { url: line.url },
        sync: [{ name: 'all', repositories: [`docker.io/${name}`], follow: false }],
      },
    },
  });
  const startMs = performance.now();
  const started = await fetch(`${site.adminUrl}/api/v1/sync/all`, { method: 'POST' });
  const { id } = (await started.json()) as { id: string };
  await until(
    'the images to be copied',
    async () => {
      const answer = await fetch(`${site.adminUrl}/api/v1/runs/${id}`);
      const { state } = (await answer.json()) as { state: string };
      if (state === 'failed' || state === 'partial') throw new Error(`the run is ${state}`);
      return state === 'succeeded';
    },
    { timeoutMs: 300_000, everyMs: 100 },
  );
  return { seconds: (performance.now() - startMs) / 1000, bytes: line.bytes };
}

async function copyBySkopeo(primary: DockerRegistry): Promise<Round> {
  await using line = await startLine(primary.url);
  await using target = await startDockerRegistry();
  await using skopeo = await startSkopeo('');
  const insecure = ['--src-tls-verify=false', '--dest-tls-verify=false'];
  const from = `${new URL(line.url).host}/${name}`;
  const startMs = performance.now();
  const to = `${target.host}/copy`;
  const ended = await skopeo.run(
    'sync',
    '--src',
    'docker',
    '--dest',
    'docker',
    ...insecure,
    from,
    to,
  );
  if (ended.code !== 0) throw new Error(ended.stderr);
  return { seconds: (performance.now() - startMs) / 1000, bytes: line.bytes };
}

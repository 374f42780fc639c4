import { fileURLToPath } from 'node:url';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { run } from '../kit/program.ts';
import { startScriptedRegistry } from '../kit/scripted-registry.ts';
import { interleave, type Report } from './report.ts';

const mainPath = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

const repetitions = 15;

/** What a person waits for `entrepot stats`: from the start of the process to its end. */
export async function commandStart(): Promise<Report> {
  await using upstream = await startScriptedRegistry();
  await using mirror = await startEntrepotProcess({
    config: { upstreams: { 'docker.io': { urls: [upstream.url] } } },
  });
  const timed = async (...args: string[]): Promise<number> => {
    const startMs = performance.now();
    await run(process.execPath, args);
    return performance.now() - startMs;
  };
  const stats = (): Promise<number> => timed(mainPath, 'stats', '--server', mirror.adminUrl);
  // The compiled code is kept from the first run on.
  await stats();

  const times = await interleave(repetitions, {
    node: () => timed('--eval', '0'),
    stats,
  });

  return {
    title: 'command-start',
    notes: ['from the start of the process to its end, from a checkout, the second start on'],
    figures: [
      { name: 'an empty program', unit: 'ms', values: times.get('node') ?? [] },
      {
        name: 'entrepot stats',
        unit: 'ms',
        values: times.get('stats') ?? [],
        target: { atMost: 150 },
      },
    ],
  };
}

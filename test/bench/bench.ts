/**
 * Ratios to peers within one run: `npm run bench`, or `npm run bench -- warm-blob stalled`.
 *
 * Every server is a process of its own on the loopback interface, and so is the client. Contenders take
 * turns (A B A B …); a figure is the median of the repetitions, with the least and the greatest. A
 * missed target is a line in the table, not a failure: a benchmark is not a test.
 */
import { coldGigabit, coldThrottled, coldUnthrottled } from './cold.ts';
import { commandStart } from './command-start.ts';
import { formatReport, type Report } from './report.ts';
import { evicting } from './evicting.ts';
import { million } from './million.ts';
import { stalled } from './stalled.ts';
import { stampede } from './stampede.ts';
import { sync } from './sync.ts';
import { trace } from './trace.ts';
import { warmBlob } from './warm-blob.ts';
import { warmManifest } from './warm-manifest.ts';

const scenarios: Readonly<Record<string, () => Promise<Report>>> = {
  'warm-blob': warmBlob,
  'warm-manifest': warmManifest,
  stampede,
  'cold-throttled': coldThrottled,
  'cold-gigabit': coldGigabit,
  'cold-unthrottled': coldUnthrottled,
  stalled,
  trace,
  million,
  sync,
  evicting,
  'command-start': commandStart,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in scenarios));
if (unknown.length > 0) {
  console.error(
    `no such scenario: ${unknown.join(', ')}; there are ${Object.keys(scenarios).join(', ')}`,
  );
  process.exit(2);
}
console.log('entrepot with its defaults and log level warn; docker-registry with log level error');
for (const [name, run] of Object.entries(scenarios)) {
  if (wanted.length === 0 || wanted.includes(name)) console.log(formatReport(await run()));
}

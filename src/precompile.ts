/**
 * Run by `npm start` before the server, with `--version`: compiles all of it in a process that ends, and
 * keeps the result. So the first start, too, does without the part that strips types: 30 MiB (measured).
 */
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

// First: it says where what is compiled is kept, and sets the runtime as for the server.
await import('./main.ts');

const cwd = import.meta.dirname;
const notOfTheServer = ['dashboard/**', 'precompile.ts', '**/*-worker.ts'];
// What fails, the server will say.
for (const file of globSync('**/*.ts', { cwd, exclude: notOfTheServer })) {
  await import(`./${file}`).catch(() => {});
}

// A thread keeps what it compiles by itself.
const load = `
  const { flushCompileCache } = require('node:module');
  const { parentPort, workerData } = require('node:worker_threads');
  Promise.allSettled(workerData.files.map((file) => import(file))).then(() => {
    flushCompileCache();
    parentPort.postMessage('done');
  });
`;
const files = globSync('**/*-worker.ts', { cwd }).map((file) => `${cwd}/${file}`);
const thread = new Worker(load, { eval: true, workerData: { files } });
await once(thread, 'message');
await thread.terminate();

import fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { UnlinkReply } from './unlinking.ts';

/** The thread that unlinks. Calls block here on purpose: nobody else lives on this thread. */
function unlinkAll(paths: readonly string[]): UnlinkReply {
  return paths.flatMap((path, at) => {
    try {
      fs.unlinkSync(path);
      return [];
    } catch (error) {
      return [{ at, code: (error as NodeJS.ErrnoException).code ?? String(error) }];
    }
  });
}

parentPort?.on('message', (paths: readonly string[]) => {
  parentPort?.postMessage(unlinkAll(paths));
});

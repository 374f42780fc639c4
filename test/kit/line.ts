import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** The line between two sites, which can be cut, slowed and corrupted. */
export interface Line extends AsyncDisposable {
  readonly url: string;
  /** Bytes that came through to who asks. */
  readonly bytes: number;
  /** Requests by the path they begin with. */
  requests(path: string): number;
  /** Ends every connection, and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
  /** From now on one byte in so many is another one; 0: none. */
  corruptOneIn(bytes: number): void;
}

/** @param options.rateBytesPerSecond of all connections together; 0: no limit */
export async function startLine(
  target: string,
  options: { readonly rateBytesPerSecond?: number } = {},
): Promise<Line> {
  const { rateBytesPerSecond = 0 } = options;
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let asked = '';
  let bytes = 0;
  let isCut = false;
  let corruptEvery = 0;
  let untilCorrupt = 0;
  let freeAt = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  };
  const corrupt = (chunk: Buffer): void => {
    if (corruptEvery === 0) return;
    for (untilCorrupt -= chunk.length; untilCorrupt < 0; untilCorrupt += corruptEvery) {
      const at = Math.max(0, chunk.length + untilCorrupt);
      chunk[at] = (chunk[at] ?? 0) ^ 1;
    }
  };
  const server = createServer((near) => {
    keep(near);
    if (isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(Number(port), hostname);
    keep(far);
    near.on('data', (chunk: Buffer) => {
      asked += chunk.toString('latin1').split('\r\n', 1)[0];
      far.write(chunk);
    });
    far.on('data', (chunk: Buffer) => {
      corrupt(chunk);
      bytes += chunk.length;
      const isTaken = near.write(chunk);
      if (!isTaken) {
        far.pause();
        near.once('drain', () => far.resume());
      }
      if (rateBytesPerSecond === 0) return;
      const now = performance.now();
      freeAt = Math.max(now, freeAt) + (chunk.length / rateBytesPerSecond) * 1000;
      if (freeAt - now < 5) return;
      far.pause();
      void sleep(freeAt - now).then(() => far.resume());
    });
    near.on('close', () => far.destroy());
    far.on('close', (hasFailed) => (hasFailed ? near.destroy() : near.end()));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get bytes() {
      return bytes;
    },
    requests: (path) => asked.split(`GET ${path}`).length - 1,
    cut: () => {
      isCut = true;
      for (const socket of sockets) socket.resetAndDestroy();
    },
    mend: () => {
      isCut = false;
    },
    corruptOneIn: (every) => {
      corruptEvery = every;
      untilCorrupt = every;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startEntrepotProcess } from '../kit/entrepot.ts';
import { get } from '../kit/clients.ts';
import { findFreePort, findProgram, startProgram, type RunningProgram } from '../kit/program.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';
import { until } from '../kit/wait-for.ts';
import { startChild, type Child } from './child.ts';
import type { Load, LoadResult } from './load-client.ts';
import type { UpstreamQuestion, UpstreamReply } from './upstream-process.ts';

/** A server that is measured, as its own process. */
export interface Contender extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
}

export type LoadClient = Child<Load, LoadResult>;

export function startLoadClient(): LoadClient {
  return startChild<Load, LoadResult>('load-client.ts');
}

/** Everything is one repository of docker.io: `library/bench` to clients and upstreams alike. */
export const repository = 'library/bench';

export function blobUrl(baseUrl: string, digest: string): string {
  return `${baseUrl}/v2/${repository}/blobs/${digest}`;
}

export interface Upstream extends AsyncDisposable {
  readonly url: string;
  /** @returns its digest; one seed, one blob */
  addBlob(seed: string, sizeBytes: number): Promise<string>;
  /** An image of five small layers. */
  addImage(tag: string): Promise<{ readonly digest: string; readonly mediaType: string }>;
  remove(digest: string): Promise<void>;
  /** Body bytes of this blob that it sent so far. */
  bytesSent(digest: string): Promise<number>;
}

/** The scripted registry in a process of its own. */
export async function startUpstream(
  options: { readonly rateBytesPerSecond?: number; readonly latencyMs?: number } = {},
): Promise<Upstream> {
  const child = startChild<UpstreamQuestion, UpstreamReply>('upstream-process.ts');
  const { url = '' } = await child.ask({ do: 'start', ...options });
  return {
    url,
    addBlob: async (seed, sizeBytes) =>
      (await child.ask({ do: 'addBlob', repository, seed, sizeBytes })).digest ?? '',
    addImage: async (tag) => {
      const { digest = '', mediaType = '' } = await child.ask({ do: 'addImage', repository, tag });
      return { digest, mediaType };
    },
    remove: async (digest) => void (await child.ask({ do: 'remove', repository, digest })),
    bytesSent: async (digest) => (await child.ask({ do: 'bytesSent', digest })).sizeBytes ?? 0,
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}

/**
 * The mirror, with its defaults and the log at level warn.
 * @param settings of its upstream, where they are not the defaults
 */
export async function startEntrepot(
  upstreamUrl: string,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<Contender> {
  const entrepot = await startEntrepotProcess({
    config: {
      log: { level: 'warn' },
      upstreams: { 'docker.io': { urls: [upstreamUrl], ...settings } },
    },
  });
  return {
    name: 'entrepot',
    url: entrepot.url,
    pid: entrepot.pid,
    [Symbol.asyncDispose]: () => entrepot[Symbol.asyncDispose](),
  };
}

/**
 * distribution's registry, quiet: errors only, no access log.
 * @param options.proxyOf the upstream's URL; a plain registry when it is not given
 * @returns undefined when it is not installed
 */
export async function startRegistry(
  options: { readonly proxyOf?: string } = {},
): Promise<Contender | undefined> {
  const program = findProgram('docker-registry');
  if (program === undefined) return undefined;
  const folder = await temporaryFolder();
  const port = await findFreePort();
  const configPath = join(folder.path, 'config.yml');
  const config = {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(folder.path, 'registry') } },
    http: { addr: `127.0.0.1:${port}` },
    ...(options.proxyOf === undefined ? {} : { proxy: { remoteurl: options.proxyOf } }),
  };
  await writeFile(configPath, JSON.stringify(config));
  const url = `http://127.0.0.1:${port}`;
  const running = startProgram(program, ['serve', configPath]);
  await untilAnswering(running, `${url}/v2/`);
  return {
    name: options.proxyOf === undefined ? 'registry' : 'registry proxy',
    url,
    pid: running.pid,
    async [Symbol.asyncDispose]() {
      await running.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/**
 * nginx with sendfile over a folder that holds one file, `/blob`.
 * @returns undefined when it is not installed
 */
export function startNginx(
  workers: '1' | 'auto',
  blob: Uint8Array,
): Promise<Contender | undefined> {
  return runNginx(`nginx (workers ${workers})`, workers, '/blob', async (folder) => {
    await mkdir(join(folder, 'root'));
    await writeFile(join(folder, 'root', 'blob'), blob);
    return `root ${folder}/root;`;
  });
}

/**
 * nginx that hands on what an upstream sends, and keeps, hashes and checks nothing of it.
 * @returns undefined when it is not installed
 */
export function startRelay(upstreamUrl: string): Promise<Contender | undefined> {
  return runNginx('nginx relay', 'auto', '/v2/', async () =>
    Promise.resolve(
      `location / { proxy_pass ${upstreamUrl}; proxy_buffering off; proxy_buffer_size 512k; proxy_buffers 4 512k; proxy_busy_buffers_size 512k; proxy_http_version 1.1; }`,
    ),
  );
}

/** @param serve what the server does, as nginx has it written; told the folder that it may use */
async function runNginx(
  name: string,
  workers: '1' | 'auto',
  answering: string,
  serve: (folder: string) => Promise<string>,
): Promise<Contender | undefined> {
  const program = findProgram('nginx');
  if (program === undefined) return undefined;
  const folder = await temporaryFolder();
  const port = await findFreePort();
  const configPath = join(folder.path, 'nginx.conf');
  const temporaries = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const lines = [
    // Workers of root change to another user, who may not enter the folder.
    ...(process.getuid?.() === 0 ? ['user root root;'] : []),
    `worker_processes ${workers};`,
    'daemon off;',
    `pid ${folder.path}/nginx.pid;`,
    `error_log ${folder.path}/error.log;`,
    'events { worker_connections 4096; }',
    'http {',
    '  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;',
    ...temporaries.map((kind) => `  ${kind}_temp_path ${folder.path}/${kind};`),
    `  server { listen 127.0.0.1:${port}; ${await serve(folder.path)} }`,
    '}',
  ];
  await writeFile(configPath, `${lines.join('\n')}\n`);
  const running = startProgram(program, ['-p', folder.path, '-c', configPath]);
  const url = `http://127.0.0.1:${port}`;
  await untilAnswering(running, url + answering);
  return {
    name,
    url,
    pid: running.pid,
    async [Symbol.asyncDispose]() {
      await running.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/**
 * Before a transfer that stores: on a virtual machine the first touch of memory is the host's work and
 * may take ten times that of the write, so the pages that it will get are touched now and freed.
 */
export async function touchPageCache(): Promise<void> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'touched');
  await writeFile(path, Buffer.alloc(512 * 1024 * 1024, 1));
  await rm(path);
}

/** Asks until an answer costs upstream nothing: a peer may store a while after it has answered. */
export async function untilWarm(
  url: string,
  upstream: Upstream,
  digest: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  await until(
    `${url} to be served without upstream`,
    async () => {
      const before = await upstream.bytesSent(digest);
      const { status, complete } = await get(url, { headers, keepBodyBytes: 0 });
      if (status !== 200 || !complete) throw new Error(`${url} answered ${status}`);
      return (await upstream.bytesSent(digest)) === before;
    },
    { timeoutMs: 60_000, everyMs: 200 },
  );
}

async function untilAnswering(program: RunningProgram, url: string): Promise<void> {
  await until(
    `${url} to answer`,
    async () => {
      if (program.exited() !== undefined) throw new Error(`it ended: ${program.output()}`);
      return (await get(url, { method: 'HEAD' })).status === 200;
    },
    { everyMs: 10 },
  );
}

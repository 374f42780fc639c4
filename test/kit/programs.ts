import { readFile, writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { get } from './clients.ts';
import { descriptorOf, type Image, type ImageIndex, type Piece } from './images.ts';
import {
  findFreePort,
  findProgram,
  run,
  startProgram,
  tryRun,
  type Finished,
  type ProgramName,
  type RunningProgram,
} from './program.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { until } from './wait-for.ts';

/** distribution's registry on a loopback port, its content in a temporary folder. */
export interface DockerRegistry extends AsyncDisposable {
  readonly url: string;
  /** `127.0.0.1:port` */
  readonly host: string;
  stop(): Promise<void>;
  /** On the same port, with the same content. */
  restart(): Promise<void>;
  output(): string;
}

export async function startDockerRegistry(
  options: { readonly proxyOf?: string } = {},
): Promise<DockerRegistry> {
  const folder = await temporaryFolder();
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const configPath = join(folder.path, 'config.yml');
  await writeJson(configPath, {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(folder.path, 'registry') },
      delete: { enabled: true },
    },
    http: { addr: `127.0.0.1:${port}` },
    ...(options.proxyOf === undefined ? {} : { proxy: { remoteurl: options.proxyOf } }),
  });
  const start = async (): Promise<RunningProgram> => {
    const program = startProgram(pathOf('docker-registry'), ['serve', configPath]);
    await untilAnswering(program, `${url}/v2/`);
    return program;
  };
  let program = await start();
  return {
    url,
    host: `127.0.0.1:${port}`,
    stop: () => program.stop(),
    restart: async () => {
      await program.stop();
      program = await start();
    },
    output: () => program.output(),
    async [Symbol.asyncDispose]() {
      await program.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Pushes an image, or an index with all its images, by the push protocol (monolithic uploads). */
export async function pushImage(
  registryUrl: string,
  repository: string,
  tag: string,
  content: Image | ImageIndex,
): Promise<void> {
  const base = `${registryUrl}/v2/${repository}`;
  const images = 'images' in content ? content.images : [content];
  for (const image of images) {
    for (const piece of [image.config, ...image.layers]) await pushBlob(base, piece);
    await putManifest(base, image.manifest.digest, image.manifest);
  }
  await putManifest(base, tag, content.manifest);
}

async function pushBlob(base: string, piece: Piece): Promise<void> {
  const held = await fetch(`${base}/blobs/${piece.digest}`, { method: 'HEAD' });
  if (held.ok) return;
  const begun = await expectOk(await fetch(`${base}/blobs/uploads/`, { method: 'POST' }));
  const location = new URL(begun.headers.get('location') ?? '', base);
  location.searchParams.set('digest', piece.digest);
  const headers = { 'content-type': 'application/octet-stream' };
  await expectOk(
    await fetch(location, { method: 'PUT', headers, body: new Uint8Array(piece.bytes) }),
  );
}

async function putManifest(base: string, reference: string, manifest: Piece): Promise<void> {
  const headers = { 'content-type': descriptorOf(manifest).mediaType };
  const body = new Uint8Array(manifest.bytes);
  await expectOk(await fetch(`${base}/manifests/${reference}`, { method: 'PUT', headers, body }));
}

async function expectOk(response: Response): Promise<Response> {
  const text = response.ok ? '' : await response.text();
  await response.body?.cancel().catch(() => {});
  if (response.ok) return response;
  throw new Error(`${response.url} answered ${response.status}: ${text.slice(0, 1000)}`);
}

/** A Docker daemon of its own: data, sockets and its containerd in a temporary folder, no network. */
export interface Dockerd extends AsyncDisposable {
  /** Runs the command-line client against it. */
  docker(...args: string[]): Promise<Finished>;
  output(): string;
}

export async function startDockerd(options: {
  readonly mirrors: readonly string[];
}): Promise<Dockerd> {
  const folder = await temporaryFolder();
  const socket = `unix://${join(folder.path, 'd.sock')}`;
  const configPath = join(folder.path, 'daemon.json');
  await writeJson(configPath, {
    'registry-mirrors': options.mirrors,
    'data-root': join(folder.path, 'data'),
    'exec-root': join(folder.path, 'run'),
    pidfile: join(folder.path, 'd.pid'),
    hosts: [socket],
    bridge: 'none',
    iptables: false,
    ip6tables: false,
    'log-level': 'info',
    'shutdown-timeout': 2,
  });
  const program = startProgram(pathOf('dockerd'), ['--config-file', configPath]);
  // A configuration folder of its own: no login of whoever runs the tests is sent to anybody.
  const env = { DOCKER_HOST: socket, DOCKER_CONFIG: folder.path };
  const docker = (...args: string[]): Promise<Finished> => tryRun(pathOf('docker'), args, { env });
  const close = async (): Promise<void> => {
    await program.stop();
    await unmountBelow(folder.path);
    await folder[Symbol.asyncDispose]();
  };
  try {
    await until(
      'dockerd to answer',
      async () => {
        if (program.exited() !== undefined) throw new Error(`dockerd ended: ${program.output()}`);
        return (await docker('version')).code === 0;
      },
      { timeoutMs: 30_000, everyMs: 50 },
    );
  } catch (cause) {
    await close();
    throw cause;
  }
  return { docker, output: () => program.output(), [Symbol.asyncDispose]: close };
}

/** A containerd of its own, with the native snapshotter's data in a temporary folder. */
export interface Containerd extends AsyncDisposable {
  /** Runs its command-line client against it. */
  ctr(...args: string[]): Promise<Finished>;
  /** `images pull` that looks up hosts in `hostsDir`. */
  pull(image: string, hostsDir: string, ...args: string[]): Promise<Finished>;
  /** Content that it holds, by digest. */
  content(digest: string): Promise<Buffer>;
  output(): string;
}

export async function startContainerd(): Promise<Containerd> {
  const folder = await temporaryFolder();
  const address = join(folder.path, 'c.sock');
  const configPath = join(folder.path, 'config.toml');
  const lines = [
    'version = 2',
    `root = ${JSON.stringify(join(folder.path, 'root'))}`,
    `state = ${JSON.stringify(join(folder.path, 'state'))}`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]',
    '[grpc]',
    `address = ${JSON.stringify(address)}`,
    '[debug]',
    'level = "info"',
  ];
  await writeFile(configPath, `${lines.join('\n')}\n`);
  const program = startProgram(pathOf('containerd'), ['--config', configPath]);
  const ctr = (...args: string[]): Promise<Finished> =>
    tryRun(pathOf('ctr'), ['--address', address, ...args]);
  const close = async (): Promise<void> => {
    await program.stop();
    await unmountBelow(folder.path);
    await folder[Symbol.asyncDispose]();
  };
  try {
    await until(
      'containerd to answer',
      async () => {
        if (program.exited() !== undefined)
          throw new Error(`containerd ended: ${program.output()}`);
        return (await ctr('version')).code === 0;
      },
      { timeoutMs: 30_000, everyMs: 50 },
    );
  } catch (cause) {
    await close();
    throw cause;
  }
  return {
    ctr,
    pull: (image, hostsDir, ...args) =>
      ctr('images', 'pull', '--snapshotter', 'native', '--hosts-dir', hostsDir, ...args, image),
    content: async (digest) =>
      await run(pathOf('ctr'), ['--address', address, 'content', 'get', digest]),
    output: () => program.output(),
    [Symbol.asyncDispose]: close,
  };
}

/**
 * A folder for `--hosts-dir` that sends one registry to a mirror and nowhere else.
 * @param mirrorUrl with or without a path prefix
 */
export async function writeHostsToml(
  folder: string,
  registry: string,
  mirrorUrl: string,
): Promise<string> {
  await mkdir(join(folder, registry), { recursive: true });
  const lines = [
    `server = ${JSON.stringify(mirrorUrl)}`,
    `[host.${JSON.stringify(mirrorUrl)}]`,
    'capabilities = ["pull", "resolve"]',
  ];
  await writeFile(join(folder, registry, 'hosts.toml'), `${lines.join('\n')}\n`);
  return folder;
}

/** skopeo with a registries.conf, and no credentials or policy of the machine. */
export interface Skopeo extends AsyncDisposable {
  run(...args: string[]): Promise<Finished>;
  /** A folder for what it copies. */
  readonly folder: string;
}

/** @param registriesConf the text of registries.conf, version 2 */
export async function startSkopeo(registriesConf: string): Promise<Skopeo> {
  const folder = await temporaryFolder();
  const confPath = join(folder.path, 'registries.conf');
  const policyPath = join(folder.path, 'policy.json');
  await writeFile(confPath, registriesConf);
  await writeJson(policyPath, { default: [{ type: 'insecureAcceptAnything' }] });
  const globals = ['--registries-conf', confPath, '--policy', policyPath];
  // A home of its own: no login of whoever runs the tests is sent to anybody.
  const env = { HOME: folder.path, REGISTRY_AUTH_FILE: join(folder.path, 'auth.json') };
  await writeJson(env.REGISTRY_AUTH_FILE, {});
  return {
    folder: folder.path,
    run: (...args) => tryRun(pathOf('skopeo'), [...globals, ...args], { env }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

function pathOf(name: ProgramName): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed: ask requireProgram first`);
  return path;
}

async function untilAnswering(program: RunningProgram, url: string): Promise<void> {
  await until(
    `${url} to answer`,
    async () => {
      if (program.exited() !== undefined) throw new Error(`it ended: ${program.output()}`);
      return (await get(url)).status === 200;
    },
    { everyMs: 10 },
  );
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, JSON.stringify(value));
}

/** Daemons leave mounts of theirs when they are killed; a folder with one in it cannot be removed. */
async function unmountBelow(folder: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8').catch(() => ''))
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of mounts.reverse()) await tryRun('umount', ['--lazy', path]);
}

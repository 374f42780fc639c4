import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** The programs that tests run; those that need root say so. */
export type ProgramName =
  | 'busybox'
  | 'chromium'
  | 'containerd'
  | 'ctr'
  | 'docker'
  | 'docker-registry'
  | 'dockerd'
  | 'nginx'
  | 'podman'
  | 'skopeo';

const needsRoot: ReadonlySet<ProgramName> = new Set(['containerd', 'dockerd']);

/** Where the program is, in PATH or where distributions keep daemons. */
export function findProgram(name: ProgramName): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/**
 * Whether the test can run; if not, it is skipped with the reason.
 * @throws Error in place of skipping when ENTREPOT_REQUIRE_CLIENTS is 1, as in CI
 */
export function requireProgram(t: TestContext, ...names: readonly ProgramName[]): boolean {
  const missing = names.find((name) => findProgram(name) === undefined);
  const rootOnly = names.find((name) => needsRoot.has(name) && process.getuid?.() !== 0);
  if (missing === undefined && rootOnly === undefined) return true;
  skipUnlessRequired(t, missing === undefined ? `${rootOnly} needs root` : `no ${missing}`);
  return false;
}

/**
 * Skips a test that cannot run on this machine.
 * @throws Error in place of skipping when ENTREPOT_REQUIRE_CLIENTS is 1, as in CI
 */
export function skipUnlessRequired(t: TestContext, reason: string): void {
  if (process.env['ENTREPOT_REQUIRE_CLIENTS'] === '1') throw new Error(reason);
  t.skip(`skipped: ${reason}`);
}

/** A port that was free a moment ago, for programs that cannot be asked which one they took. */
export async function findFreePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = createServer().listen(0, '127.0.0.1', resolve);
  await promise;
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

export interface RunningProgram {
  readonly pid: number;
  /** The last 64 KiB that it wrote to stdout and stderr. */
  output(): string;
  /** Undefined while it runs, then its exit code or signal. */
  exited(): number | string | undefined;
  /** Sends the signal and waits for the end; SIGKILL after ten seconds. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts a program that stays until it is stopped, or until this process ends. */
export function startProgram(
  path: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv } = {},
): RunningProgram {
  const child = spawn(path, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  let output = '';
  let exit: number | string | undefined;
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-65_536);
  };
  // A test that times out leaves its function waiting; that must not keep the process, whose end
  // kills the children, from coming.
  child.unref();
  for (const pipe of [child.stdout, child.stderr]) (pipe as Socket).unref();
  running.add(child);
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  child.on('error', (error) => {
    output += String(error);
    exit = 'error';
    running.delete(child);
    end();
  });
  child.on('exit', (code, signal) => {
    exit = code ?? signal ?? 'gone';
    running.delete(child);
    end();
  });
  return {
    pid: child.pid ?? 0,
    output: () => output,
    exited: () => exit,
    async stop(signal = 'SIGTERM') {
      if (exit === undefined) child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

export interface Finished {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs a program to its end; its failure is in the result, for tests that expect one. */
export function tryRun(
  path: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly timeoutMs?: number } = {},
): Promise<Finished> {
  const { promise, resolve } = Promise.withResolvers<Finished>();
  const settings = {
    encoding: 'buffer',
    env: { ...process.env, ...options.env },
    timeout: options.timeoutMs ?? 60_000,
    maxBuffer: 512 * 1024 * 1024,
  } as const;
  execFile(path, args, settings, (error, stdout, stderr) => {
    const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
    resolve({ code, stdout, stderr: stderr.toString() || (error?.message ?? '') });
  });
  return promise;
}

/** @throws Error with what the program wrote, when it fails */
export async function run(
  path: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly timeoutMs?: number } = {},
): Promise<Buffer> {
  const { code, stdout, stderr } = await tryRun(path, args, options);
  if (code === 0) return stdout;
  throw new Error(`${path} ${args.join(' ')} failed (${code}): ${stderr}`);
}

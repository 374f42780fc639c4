import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { get } from './clients.ts';
import { findFreePort, startProgram, type RunningProgram } from './program.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { until } from './wait-for.ts';

/** The mirror as a process, as an operator runs it. */
export interface EntrepotProcess extends AsyncDisposable {
  readonly url: string;
  readonly adminUrl: string;
  /** `127.0.0.1:port` of the registry door. */
  readonly host: string;
  readonly pid: number;
  readonly storagePath: string;
  readonly configPath: string;
  output(): string;
  /** Undefined while it runs, then its exit code or signal. */
  exited(): number | string | undefined;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<void>;
  /** SIGKILL: as if the machine had lost it. */
  kill(): Promise<void>;
  /** Once more, with the same configuration, ports and storage. */
  restart(): Promise<void>;
}

type Config = Readonly<Record<string, unknown>>;

/**
 * Starts `src/main.ts serve` and waits until it answers.
 *
 * @param options.config what differs from the defaults, as an object or YAML; listen addresses and the
 *   storage path are filled in where it does not name them
 * @param options.shell what a shell does in the same process before it, such as `ulimit -n 256`
 */
export async function startEntrepotProcess(options: {
  readonly config: Config | string;
  readonly env?: NodeJS.ProcessEnv;
  readonly shell?: string;
}): Promise<EntrepotProcess> {
  const folder = await temporaryFolder();
  const given = (
    typeof options.config === 'string' ? parse(options.config) : options.config
  ) as Config;
  const config = {
    ...given,
    registry: { listen: `127.0.0.1:${await findFreePort()}`, ...section(given, 'registry') },
    admin: { listen: `127.0.0.1:${await findFreePort()}`, ...section(given, 'admin') },
    storage: { path: join(folder.path, 'storage'), ...section(given, 'storage') },
  };
  const configPath = join(folder.path, 'entrepot.yaml');
  await writeFile(configPath, JSON.stringify(config, undefined, 2));
  const url = `http://${config.registry.listen}`;
  const start = async (): Promise<RunningProgram> => {
    const { shell = ':' } = options;
    const command = [process.execPath, mainPath, 'serve', '--config', configPath];
    const started = startProgram('/bin/sh', ['-c', `${shell}; exec "$@"`, 'sh', ...command], {
      env: { NODE_COMPILE_CACHE: compiledPath, ...options.env },
    });
    await untilServing(started, url);
    return started;
  };
  let program = await start().catch(async (error: unknown) => {
    await folder[Symbol.asyncDispose]();
    throw error;
  });
  return {
    url,
    adminUrl: `http://${config.admin.listen}`,
    host: config.registry.listen,
    storagePath: config.storage.path,
    configPath,
    get pid() {
      return program.pid;
    },
    output: () => program.output(),
    exited: () => program.exited(),
    stop: () => program.stop(),
    kill: () => program.stop('SIGKILL'),
    restart: async () => {
      await program.stop();
      program = await start();
    },
    async [Symbol.asyncDispose]() {
      await program.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const mainPath = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** As `npm start` sets it. */
const compiledPath = fileURLToPath(new URL('../../node_modules/.cache/entrepot', import.meta.url));

function section(config: Config, name: string): Record<string, string> {
  return (config[name] ?? {}) as Record<string, string>;
}

async function untilServing(program: RunningProgram, url: string): Promise<void> {
  try {
    await until(
      `${url}/v2/ to answer 200`,
      async () => {
        if (program.exited() !== undefined) throw new Error('the mirror ended');
        return (await get(`${url}/v2/`)).status === 200;
      },
      { everyMs: 10 },
    );
  } catch (cause) {
    await program.stop('SIGKILL');
    throw new Error(`the mirror did not start; it wrote:\n${program.output()}`, { cause });
  }
}

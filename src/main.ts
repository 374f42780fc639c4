#!/usr/bin/env node
import module from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import type { App } from './app.ts';
import type { ConfigSource } from './config/load.ts';
import type { Config } from './config/schema.ts';
import type { Reloading } from './wiring/reloading.ts';

/** As package.json says; an older one would end in an error that explains nothing. */
const nodeMajorMin = 24;

function needNode(): void {
  const { node } = process.versions;
  if (Number.parseInt(node, 10) >= nodeMajorMin) return;
  process.stderr.write(
    `entrepot: Node ${nodeMajorMin} or newer is needed, and this is ${node}; in a checkout, npm start brings its own\n`,
  );
  process.exit(1);
}

/**
 * What the runtime has made of our code is kept beside the packages (not in a folder that all
 * users share): the next start is 140 ms sooner and, from a checkout, 30 MiB smaller, when the part
 * that strips types is not loaded (measured); for that `npm start` names the folder before this file
 * itself is read, and fills it first (`precompile.ts`). Where the folder cannot be written, nothing is
 * kept. So everything else is imported after this; and the server's parts only to serve: a command is
 * no server.
 */
function keepCompiledCode(): void {
  module.enableCompileCache(
    fileURLToPath(new URL('../node_modules/.cache/entrepot', import.meta.url)),
  );
}

/**
 * Settings of the runtime itself, before its threads start.
 *
 * - A young generation of 8 MiB: what flows through here is short-lived, and with the default the
 *   process keeps some 30 MiB more resident (measured); with less, a cold blob costs more.
 * - The old generation is collected when it has grown by two fifths, not by twice as much: the index of
 *   a million blobs then takes 100 MiB less (measured).
 * - File calls have 16 threads instead of 4: a disk that blocks some writes must not block the reads
 *   of hits behind them. A value set by the operator stays.
 */
function tuneRuntime(): void {
  v8.setFlagsFromString('--semi-space-growth-factor=1');
  v8.setFlagsFromString('--max-semi-space-size=8');
  v8.setFlagsFromString('--min-semi-space-size=8');
  v8.setFlagsFromString('--heap-growing-percent=40');
  process.env['UV_THREADPOOL_SIZE'] ??= '16';
}

/** Runs the server until SIGTERM or SIGINT; a second signal ends it at once. */
async function serve(config: Config, source: ConfigSource): Promise<number> {
  const [{ startApp }, { Reloading: Reloader }, { ServiceManager }, { logObserver, openLog }] =
    await Promise.all([
      import('./app.ts'),
      import('./wiring/reloading.ts'),
      import('./wiring/service-manager.ts'),
      import('./telemetry/log.ts'),
    ]);
  const { readVersion } = await import('./cli/program.ts');
  const { readDescriptorLimit } = await import('./wiring/descriptors.ts');
  const { findMissingLogins } = await import('./config/files.ts');
  const { findStartFailure } = await import('./wiring/start-failure.ts');
  // What is cached may be private.
  process.umask(0o077);
  const { log, close: closeLog } = openLog(config.log, process.stdout, process.env);
  const observe = logObserver(log);
  let app: App | undefined;
  let reloading: Reloading | undefined;
  process.on('unhandledRejection', (error) => {
    (app?.observe ?? observe)({ kind: 'bug', where: 'unhandled', error });
  });
  // From now on: a signal that comes while it starts is no less meant.
  const stopped = nextSignal();
  process.on('SIGHUP', () => void reloading?.reload('signal'));
  const manager = new ServiceManager(process.env, (err) =>
    log.warn({ err }, 'systemd could not be told; is systemd-notify in PATH?'),
  );
  try {
    app = await startApp(config, {
      env: process.env,
      observe,
      version: readVersion(),
      descriptorLimit: readDescriptorLimit(),
      logLevel: {
        get: () => log.level,
        set: (level) => {
          log.level = level;
        },
      },
    });
    log.info(
      { registry: app.registryUrl, admin: app.adminUrl, upstreams: [...config.upstreams.keys()] },
      `entrepot ${readVersion()} serves ${app.registryUrl}`,
    );
    await manager.ready(`serves ${app.registryUrl}`);
    for (const { path, message } of await findMissingLogins(config, process.env)) {
      log.warn({ setting: path.join('.') }, message);
    }
    reloading = new Reloader(source, app);
    await reloading.start(config);
    const signal = await stopped;
    await reloading.close();
    void manager.stopping();
    log.info({ signal }, 'shutting down: running downloads may end, new ones are refused');
    for (const again of ['SIGTERM', 'SIGINT'] as const) {
      process.once(again, () => endAtOnce(again));
    }
    const { cutConnections } = await app.close();
    log.info({ cutConnections }, 'stopped');
    return 0;
  } catch (error) {
    const failure = app === undefined ? findStartFailure(error) : undefined;
    if (failure === undefined) throw error;
    process.stderr.write(`entrepot: ${failure}; nothing was started.\n`);
    return 1;
  } finally {
    manager.close();
    if (!(await closeLog())) endAtOnce('SIGTERM');
  }
}

/**
 * By the signal itself, whose listeners are gone: an exit of the runtime waits for its threads, and one
 * of them may be held for ever by a disk or an output that does not answer. The first process of a
 * container is deaf to it, and exits.
 */
function endAtOnce(signal: 'SIGTERM' | 'SIGINT'): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  process.exit(128 + constants.signals[signal]);
}

function nextSignal(): Promise<'SIGTERM' | 'SIGINT'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => resolve(signal));
  });
}

/** Ctrl-C, for commands; the server has its own signals. A second one ends it at once. */
function interruption(): AbortSignal {
  const abort = new AbortController();
  if (process.argv[2] !== 'serve') process.once('SIGINT', () => abort.abort());
  return abort.signal;
}

/** Who reads a command may stop before all is said, as `head` does; then nobody is left to be told. */
function endWithReader(): void {
  if (process.argv[2] === 'serve') return;
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      process.exit(128 + constants.signals.SIGPIPE);
    });
  }
}

needNode();
keepCompiledCode();
tuneRuntime();
endWithReader();
const { runCli } = await import('./cli/program.ts');
process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  serve,
  interrupted: interruption(),
});

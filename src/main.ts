#!/usr/bin/env node
import { pino } from 'pino';
import { startApp } from './app.ts';
import { readVersion, runCli } from './cli/program.ts';
import { settingsWithoutEffect, type Config } from './config/schema.ts';
import { createLog, logObserver } from './telemetry/log.ts';

/** Runs the server until SIGTERM or SIGINT; a second signal ends it at once. */
async function serve(config: Config): Promise<number> {
  // Lines are collected and written in the background; the exit flushes what is left.
  const stream = pino.destination({ fd: 1, sync: false, minLength: 4096 });
  const flushing = setInterval(() => stream.flush(), 250);
  const log = createLog(config.log.level, stream);
  for (const sentence of settingsWithoutEffect(config)) log.warn(sentence);
  const observe = logObserver(log);
  process.on('unhandledRejection', (error) => observe({ kind: 'bug', where: 'unhandled', error }));
  try {
    const app = await startApp(config, { env: process.env, observe, version: readVersion() });
    log.info(
      { registry: app.registryUrl, admin: app.adminUrl, upstreams: [...config.upstreams.keys()] },
      `entrepot ${readVersion()} serves ${app.registryUrl}`,
    );
    const signal = await nextSignal();
    log.info({ signal }, 'shutting down: running downloads may end, new ones are refused');
    process.once(signal, () => process.exit(130));
    await app.close();
    log.info('stopped');
    return 0;
  } finally {
    clearInterval(flushing);
    stream.flushSync();
  }
}

function nextSignal(): Promise<'SIGTERM' | 'SIGINT'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => resolve(signal));
  });
}

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  serve,
});

import { pino, type DestinationStream, type Logger } from 'pino';
import type { Event, Observe, RequestEvent } from '../base/events.ts';
import { withoutSecrets } from '../base/secrets.ts';
import { LineWriter } from './line-writer.ts';
import { prettyStream } from './pretty.ts';
import { errorTable, type ErrorCode } from '../oci/errors.ts';

export type Log = Logger;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/**
 * A line of JSON an event; `stream` is written to in large pieces, so a line costs microseconds. Of an
 * error it takes what it is called, what it says and where it was thrown: whatever else hangs on one,
 * such as the headers of a request, may be a secret.
 */
export function createLog(level: LogLevel, stream: DestinationStream): Log {
  const timestamp = pino.stdTimeFunctions.isoTime;
  const serializers = { err: errorFields };
  return pino({ level, base: null, timestamp, serializers }, stream);
}

/** At the end, for what nobody has read by then. */
const lastLinesMs = 2_000;

/**
 * The log of the server on the standard output.
 * @returns `close` writes what is left, for two seconds at most; its answer is false when the process
 *   cannot end by itself, since the standard output holds a write
 */
export function openLog(
  { level, format }: { readonly level: LogLevel; readonly format: 'auto' | 'json' | 'pretty' },
  stdout: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): { readonly log: Log; readonly close: () => Promise<boolean> } {
  const writer = new LineWriter(1);
  const isTerminal = stdout.isTTY === true;
  const isPretty = format === 'pretty' || (format === 'auto' && isTerminal);
  const pretty = prettyStream((text) => writer.write(text), isTerminal && !env['NO_COLOR']);
  const log = createLog(level, isPretty ? pretty : writer);
  writer.onDropped = (lines) =>
    log.warn({ lines }, 'nobody read the standard output: so many lines of the log were dropped');
  return { log, close: () => writer.close(lastLinesMs) };
}

function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: withoutSecrets(String(error)) };
  const { name, message, stack = '', cause } = error;
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: name,
    message: withoutSecrets(message),
    ...(code === undefined ? {} : { code }),
    stack: withoutSecrets(stack),
    ...(cause === undefined ? {} : { cause: errorFields(cause) }),
  };
}

/** Turns events into log lines: one a request, and what an operator would want to know. */
export function logObserver(log: Log): Observe {
  return (event) => {
    switch (event.kind) {
      case 'request':
        return logRequest(log, event);
      case 'bug':
        return log.error(
          { err: event.error, where: event.where },
          'this is a bug in Entrepot; please report it',
        );
      case 'config-refused':
      case 'store-failed':
      case 'content-corrupt':
      case 'names-failed':
      case 'fill-uncached':
        return log.error(fieldsOf(event), messages[event.kind]);
      case 'setting-changed':
        return log[event.isInEffect ? 'info' : 'warn'](
          fieldsOf(event),
          event.isInEffect
            ? messages[event.kind]
            : 'a setting has changed that takes a restart; the old value goes on',
        );
      case 'run-ended':
        return log[event.state === 'partial' || event.state === 'failed' ? 'warn' : 'info'](
          fieldsOf(event),
          messages[event.kind],
        );
      case 'fill-failed':
        return log[event.code === 'CANCELLED' ? 'info' : 'warn'](
          fieldsOf(event),
          messages[event.kind],
        );
      case 'fill-resumed':
      case 'upstream-unreachable':
      case 'upstream-refused':
      case 'breaker-changed':
      case 'upstream-limited':
      case 'clients-refused':
      case 'served-stale':
        return log.warn(fieldsOf(event), messages[event.kind]);
      case 'fill-committed':
      case 'evicted':
      case 'store-ready':
      case 'run-changed':
      case 'config-read':
      case 'secret-renewed':
        return log.info(fieldsOf(event), messages[event.kind]);
      case 'fill-started':
      case 'upstream-answered':
      case 'quota-seen':
      case 'refusal-remembered':
        return log.debug(fieldsOf(event), messages[event.kind]);
    }
  };
}

const messages: Readonly<Record<Exclude<Event['kind'], 'request' | 'bug'>, string>> = {
  'fill-started': 'a download from upstream has started',
  'fill-committed': 'a blob is stored',
  'fill-failed': 'a download from upstream has failed',
  'fill-resumed': 'a download from upstream broke and goes on',
  'fill-uncached': 'the disk cannot take a blob; it is passed through uncached',
  'upstream-answered': 'upstream has answered',
  'upstream-unreachable': 'upstream cannot be reached',
  'upstream-refused': 'upstream would send us where nothing is sent',
  'breaker-changed': 'upstream has changed its health',
  'quota-seen': 'upstream says how many pulls are left',
  'refusal-remembered': 'upstream did not have this a moment ago and is not asked again yet',
  'upstream-limited': 'upstream limits our requests (429); it is left alone for a while',
  'clients-refused':
    'connections of clients were refused: the process may open too few files; raise its limit (ulimit -n, LimitNOFILE)',
  'served-stale': 'a cached copy is served because upstream did not confirm it',
  'run-changed': 'a run of a job has changed',
  'run-ended': 'a run of a job has ended',
  'config-read': 'the configuration was read anew',
  'setting-changed': 'a setting has changed and is in effect',
  'secret-renewed': 'the file of a setting has changed and is in use',
  'config-refused': 'the new configuration has a fault; the mirror goes on with the old one',
  evicted: 'a blob was evicted to make room',
  'content-corrupt': 'a stored file was not what had been stored; it is quarantined',
  'store-failed': 'the cache disk has failed an operation',
  'store-ready': 'the cache disk has been counted',
  'names-failed': 'the database of names has failed an operation; it reads as a miss',
};

function logRequest(log: Log, event: RequestEvent): void {
  const { errorCode, kind, ...rest } = event;
  const level = event.aborted ? 'info' : levelOf(errorCode);
  if (!log.isLevelEnabled(level)) return;
  const upstream = event.repository?.split('/', 1)[0];
  const durationMs = Math.round(rest.durationMs * 100) / 100;
  log[level]({ upstream, ...rest, durationMs, errorCode }, kind);
}

function levelOf(code: string | undefined): 'debug' | 'info' | 'warn' | 'error' {
  if (code === undefined) return 'info';
  return code in errorTable ? errorTable[code as ErrorCode].log : 'error';
}

function fieldsOf(event: Event): Record<string, unknown> {
  const { kind, ...rest } = event;
  return { event: kind, ...rest };
}

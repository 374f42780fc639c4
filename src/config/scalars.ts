import { isIPv4 } from 'node:net';
import { CronPattern } from 'croner';
import { z } from 'zod';
import { globMatcher } from '../mirror/select/globs.ts';
import { parseImagePattern } from '../mirror/select/images.ts';
import { tagMatcher } from '../mirror/select/tags.ts';
import { canonicalRegistry } from '../oci/reference.ts';
import { parseDurationMs, parseSizeBytes } from '../base/units.ts';

/**
 * The kinds of value that a setting can have. Every scalar arrives as text, from the file and from the
 * environment alike, so `username: 0123` keeps its zero and both places obey one grammar.
 */

/** Where a server listens. Port 0 lets the system choose. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** Where a secret is kept; `readSecret` turns it into text when it is used. */
export type Secret = { readonly file: string } | { readonly env: string };

/** Space that stays free: a share (0 to 1) of the file system, or bytes. */
export type MinFree = { readonly share: number } | { readonly bytes: number };

/** Node's timers overflow above 2^31 ms and then fire at once; nothing here needs more than an hour. */
const timeoutMsMax = 3_600_000;

/** host, host:port or [IPv6]:port. Underscores are for the service names of compose files. */
const hostGrammar = /^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?$/;

/** Five fields, or six with seconds, or @daily and its kin; whether they can be is asked of croner. */
const cronGrammar =
  /^(?:@(?:hourly|daily|weekly|monthly|yearly|annually)|[\d*/,a-z#?+-]+(?:\s+[\d*/,a-z#?+-]+){4,5})$/i;

/** A name, and after it a tag, a pattern of tags, or a digest; the rest `parseImagePattern` says. */
const imageGrammar =
  /^[a-z0-9](?:[a-z0-9._/-]|:\d+\/)*(?::\S(?:[^\n]*\S)?)?(?:@sha\d{3}:[0-9a-f]{64,128})?$/;

const dayWindowGrammar = /^(?:[01]\d|2[0-3]):[0-5]\d-(?:(?:[01]\d|2[0-3]):[0-5]\d|24:00)$/;

const platformGrammar = /^[a-z0-9]+\/[a-z0-9_]+(?:\/[a-z0-9.]+)?$/;

/** What editors and the reference say of a kind of value; `type` is JSON Schema's. */
interface Kind {
  readonly title: string;
  readonly type?: string | string[];
  readonly minimum?: number;
  readonly maximum?: number;
}

/** A scalar read by `parse`, which throws a RangeError that says what is allowed. */
export function parsed<T>(kind: Kind, parse: (text: string) => T): z.ZodType<T, string> {
  const schema = z.string().transform((text, context) => {
    try {
      return parse(text.trim());
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  });
  return schema.meta({ ...kind });
}

/** YAML takes `0123` for a number and `true` for a truth value; here they are the text they are. */
const anyScalar = ['string', 'number', 'boolean'];
const textOrNumber = ['string', 'integer'];

export const text = parsed({ title: 'text', type: anyScalar }, (value) => value);
export const duration = parsed(
  { title: 'duration, such as 90s, 10m or 7d', type: textOrNumber },
  parseDurationMs,
);
export const interval = parsed(
  { title: 'duration from 1s on, such as 15m', type: textOrNumber },
  parseIntervalMs,
);
export const durationOrForever = parsed(
  { title: 'duration, such as 12h, or forever', type: textOrNumber },
  (value) => (value === 'forever' ? Infinity : parseDurationMs(value)),
);
export const timeout = parsed({ title: 'duration from 1ms to 1h, such as 30s' }, parseTimeoutMs);
export const size = parsed(
  { title: 'size, such as 50GiB, 32g or 500MB', type: textOrNumber },
  parseSizeBytes,
);
export const rate = parsed(
  { title: 'bytes a second, such as 20MiB/s', type: textOrNumber },
  (value) => parseSizeBytes(value.replace(/\/s$/, '')),
);
export const share = parsed({ title: 'share above 0%, such as 90%' }, (value) => {
  const found = parseShare(value);
  if (found > 0) return found;
  throw new RangeError(`«${value}» would leave nothing; write a share above 0%, for example 90%`);
});
export const minFree = parsed<MinFree>(
  { title: 'share below 100% or size, such as 5% or 20GiB', type: textOrNumber },
  (value) => {
    if (!value.endsWith('%')) return { bytes: parseSizeBytes(value) };
    const found = parseShare(value);
    if (found < 1) return { share: found };
    throw new RangeError(`«${value}» leaves nothing to the cache; write for example 5%`);
  },
);
export const flag = parsed({ title: 'true or false', type: 'boolean' }, parseFlag);
export const listen = parsed({ title: 'host:port, such as 0.0.0.0:5000' }, parseListen);
export const registryUrl = parsed(
  { title: 'URL, such as https://registry.example.com' },
  parseRegistryUrl,
);
export const host = parsed({ title: 'host, such as auth.example.com' }, parseHost);
export const proxy = parsed({ title: 'http://host:port, or none' }, parseProxy);
export const schedule = parsed(
  { title: 'schedule: minute, hour, day, month, weekday, such as "0 3 * * *"' },
  parseSchedule,
);
export const timeZone = parsed({ title: 'time zone, such as Asia/Shanghai' }, parseTimeZone);
export const dayWindow = parsed({ title: 'part of the day, such as 01:00-06:00' }, (value) =>
  matching(value, dayWindowGrammar, 'a part of the day', '01:00-06:00'),
);
export const image = parsed(
  { title: 'image, such as docker.io/library/nginx:1.27 or ghcr.io/o/i:1.*' },
  (value) => {
    const example = 'docker.io/library/nginx:1.27 or ghcr.io/o/i:1.*';
    parseImagePattern(matching(value, imageGrammar, 'an image', example));
    return value;
  },
);
export const tags = parsed(
  { title: 'tag or pattern of tags, such as 1.27, 1.* or ^1.25', type: anyScalar },
  (value) => {
    tagMatcher(value);
    return value;
  },
);
export const repositories = parsed(
  { title: 'pattern of repositories, such as docker.io/library/*', type: anyScalar },
  (value) => {
    globMatcher([value]);
    return value;
  },
);
export const platform = parsed({ title: 'platform, such as linux/amd64' }, (value) =>
  matching(value, platformGrammar, 'a platform', 'linux/amd64 or linux/arm/v7'),
);

/** A whole number from `min` to `max`, both allowed. */
export function integer(min: number, max: number): z.ZodType<number, string> {
  const title = `whole number from ${min} to ${max}`;
  return parsed({ title, type: 'integer', minimum: min, maximum: max }, (value) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : NaN;
    if (number >= min && number <= max) return number;
    throw new RangeError(`not a whole number from ${min} to ${max}: «${value}»`);
  });
}

/** `{ file: … }` or `{ env: … }`; never the secret itself, so the file can be shown to anybody. */
export const secret = z
  .strictObject(
    { file: text.optional(), env: text.optional() },
    {
      error: (issue) =>
        issue.code === 'invalid_type'
          ? 'a secret does not stand in this file; write { file: /path/of/a/file } or { env: NAME_OF_A_VARIABLE }'
          : undefined,
    },
  )
  .transform((value, context): Secret => {
    if (value.file !== undefined && value.env === undefined) return { file: value.file };
    if (value.env !== undefined && value.file === undefined) return { env: value.env };
    context.addIssue({
      code: 'custom',
      message: 'name one place of the secret: { file: … } or { env: … }',
    });
    return z.NEVER;
  });

/** Whether only this machine can reach that address. */
export function isLoopback(listen: Listen): boolean {
  return (
    listen.host === 'localhost' ||
    listen.host === '::1' ||
    (isIPv4(listen.host) && listen.host.startsWith('127.'))
  );
}

/** `host:port` as it is written in the file. */
export function listenText(listen: Listen): string {
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  return `${host}:${listen.port}`;
}

function parseTimeoutMs(value: string): number {
  const ms = parseDurationMs(value);
  if (ms >= 1 && ms <= timeoutMsMax) return ms;
  throw new RangeError(`a timeout is from 1ms to 1h, not «${value}»`);
}

function parseIntervalMs(value: string): number {
  const ms = parseDurationMs(value);
  if (ms >= 1_000) return ms;
  throw new RangeError(`what is done again and again is done every 1s at most, not «${value}»`);
}

function parseShare(value: string): number {
  const percent = /^\d{1,3}(?:\.\d+)?%$/.test(value) ? Number(value.slice(0, -1)) : NaN;
  if (percent >= 0 && percent <= 100) return percent / 100;
  throw new RangeError(`not a share: «${value}»; write for example 90%`);
}

function parseFlag(value: string): boolean {
  if (value === 'true' || value === 'false') return value === 'true';
  throw new RangeError(`neither true nor false: «${value}»`);
}

function parseListen(value: string): Listen {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]*)):(\d{1,5})$/i.exec(value);
  const port = Number(match?.[3] ?? NaN);
  if (match === null || !(port <= 65_535)) {
    throw new RangeError(
      `not an address to listen on: «${value}»; write host:port, for example 0.0.0.0:5000 or [::1]:5001`,
    );
  }
  return { host: match[1] ?? (match[2] === '' ? '0.0.0.0' : match[2]!.toLowerCase()), port };
}

/** Without a slash at the end, so that `${url}/v2/…` is right. */
function parseRegistryUrl(value: string): string {
  const example = 'write for example https://registry.example.com';
  const url = URL.parse(value);
  if (url === null) throw new RangeError(`not a URL: «${value}»; ${example}`);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new RangeError(
      `a registry is reached by https or http, not «${url.protocol}»; ${example}`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new RangeError(
      'a URL does not carry a user name or a password here; use the keys username and password',
    );
  }
  if (/[?#]/.test(value)) {
    throw new RangeError(`a registry's URL has neither «?» nor «#»; ${example}`);
  }
  return url.href.replace(/\/+$/, '');
}

/** «none», or where requests go out through. A login of the proxy stands in the environment's. */
function parseProxy(value: string): string {
  if (value === 'none') return value;
  const url = URL.parse(value);
  if (url !== null && `${url.username}${url.password}` !== '') {
    // It is not quoted: there is a password in it.
    throw new RangeError(
      'a proxy with a login; the login stands in HTTPS_PROXY or HTTP_PROXY of the environment alone',
    );
  }
  if (url !== null && /^https?:$/.test(url.protocol)) return url.href;
  throw new RangeError(
    `not a proxy: «${value}»; write http://proxy.example:3128, or none to go straight`,
  );
}

/** The last five are those of a schedule without seconds; after croner's `CronPattern`. */
const cronFields = [
  'seconds are 0 to 59',
  'minutes are 0 to 59',
  'hours are 0 to 23',
  'days are 1 to 31, or L',
  'months are 1 to 12, or JAN to DEC',
  'weekdays are 0 to 7, or SUN to SAT',
];

function parseSchedule(value: string): string {
  const example = '"0 3 * * *" (minute, hour, day, month, weekday)';
  matching(value, cronGrammar, 'a schedule', example);
  if (isCron(value)) return value;
  const given = value.split(/\s+/);
  const fields = cronFields.slice(-given.length);
  // Each alone: what the reader says of the whole counts days and months from 0.
  const faults = fields.flatMap((field, at) => {
    const alone = fields.map((_, other) => (other === at ? given[at] : '*')).join(' ');
    return isCron(alone) ? [] : [`«${given[at]}» cannot be: ${field}`];
  });
  const why = faults.length === 0 ? `write for example ${example}` : faults.join('; ');
  throw new RangeError(`not a schedule: «${value}»; ${why}`);
}

function isCron(value: string): boolean {
  try {
    void new CronPattern(value);
    return true;
  } catch {
    return false;
  }
}

function parseTimeZone(value: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: value }).resolvedOptions().timeZone;
  } catch {
    throw new RangeError(`not a time zone: «${value}»; write for example Asia/Shanghai or UTC`);
  }
}

function parseHost(value: string): string {
  return matching(value.toLowerCase(), hostGrammar, 'a host', 'auth.example.com or 10.0.0.5:5001');
}

/** The canonical name of an upstream; undefined when no image name could start with it. */
export function findRegistryName(value: string): string | undefined {
  const name = canonicalRegistry(value);
  return hostGrammar.test(name) ? name : undefined;
}

function matching(value: string, grammar: RegExp, kind: string, example: string): string {
  if (grammar.test(value)) return value;
  throw new RangeError(`not ${kind}: «${value}»; write for example ${example}`);
}

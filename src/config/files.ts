import { readFile } from 'node:fs/promises';
import type { Environment } from './environment.ts';
import type { Secret } from './scalars.ts';
import type { Config } from './schema.ts';

/** Something that the configuration names by its place, and that is not there. */
export interface MissingFile {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

type Place = readonly [path: readonly PropertyKey[], where: string | Secret | undefined];

/** What the mirror cannot start without: certificates, and the token of the admin API. */
export function findMissingFiles(config: Config, env: Environment): Promise<MissingFile[]> {
  const { registry, admin, upstreams, site } = config;
  return missingOf(
    [
      ...tlsPlaces(['registry', 'tls'], registry.tls),
      [['admin', 'token'], admin.token],
      ...tlsPlaces(['admin', 'tls'], admin.tls),
      ...Array.from(upstreams, ([name, { tls }]) =>
        tlsPlaces(['upstreams', name, 'tls'], tls),
      ).flat(),
      ...tlsPlaces(['site', 'primary', 'tls'], site?.primary?.tls),
    ],
    env,
  );
}

/** The logins at other servers that cannot be read: what needs them fails until they can. */
export function findMissingLogins(config: Config, env: Environment): Promise<MissingFile[]> {
  const { upstreams, site } = config;
  return missingOf(
    [
      ...Array.from(upstreams, ([name, { password }]): Place => [
        ['upstreams', name, 'password'],
        password,
      ]),
      [['site', 'primary', 'token'], site?.primary?.token],
      ...(site?.push ?? []).map(({ password }, at): Place => [
        ['site', 'push', at, 'password'],
        password,
      ]),
    ],
    env,
  );
}

/** Why a file cannot be read, for people; of an error of Node's. */
export function unreadableText(error: unknown): string {
  const reasons: Record<string, string> = {
    ENOENT: 'it does not exist',
    EACCES: 'this user may not read it',
    EISDIR: 'it is a folder',
  };
  const { code = '', message } = error as NodeJS.ErrnoException;
  return reasons[code] ?? message;
}

function tlsPlaces(
  path: readonly PropertyKey[],
  tls:
    | Readonly<Partial<Record<'ca' | 'cert' | 'key' | 'clientCa', string | undefined>>>
    | undefined,
): Place[] {
  return (['ca', 'cert', 'key', 'clientCa'] as const).map((key) => [[...path, key], tls?.[key]]);
}

async function missingOf(places: readonly Place[], env: Environment): Promise<MissingFile[]> {
  const found: MissingFile[] = [];
  for (const [path, where] of places) {
    const message = where === undefined ? undefined : await faultOf(where, env);
    if (message !== undefined) found.push({ path, message });
  }
  return found;
}

async function faultOf(where: string | Secret, env: Environment): Promise<string | undefined> {
  if (typeof where === 'object' && 'env' in where) {
    const isSet = (env[where.env] ?? '') !== '';
    return isSet
      ? undefined
      : `the environment variable ${where.env} should hold a secret, but is not set; set it, or name another place`;
  }
  const file = typeof where === 'string' ? where : where.file;
  try {
    const text = await readFile(file, 'utf8');
    return text.trim() === '' ? `the file ${file} is empty; fill it, or name another` : undefined;
  } catch (error) {
    return `the file ${file} cannot be read: ${unreadableText(error)}; put it there, or name another`;
  }
}

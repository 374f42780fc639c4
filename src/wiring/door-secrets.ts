import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import type { Observe } from '../base/events.ts';
import { readSecret } from '../config/load.ts';
import type { Environment } from '../config/environment.ts';
import type { Config } from '../config/schema.ts';
import { contextOptions, type ServerTls } from '../http/server-tls.ts';
import { StartFailure } from './start-failure.ts';

/** The doors that may have a certificate. */
type Door = 'registry' | 'admin';

interface Read {
  readonly registry: ServerTls | undefined;
  readonly admin: ServerTls | undefined;
  readonly token: string | undefined;
}

/** What the doors keep in files: their certificates, and the token of the admin API. */
export class DoorSecrets {
  readonly #env: Environment;
  readonly #observe: Observe;
  #read: Read;

  private constructor(env: Environment, observe: Observe, read: Read) {
    this.#env = env;
    this.#observe = observe;
    this.#read = read;
  }

  /** @throws ConfigError; StartFailure of a certificate that cannot be used; Node's own of one that cannot be read */
  static async open(config: Config, env: Environment, observe: Observe): Promise<DoorSecrets> {
    return new DoorSecrets(env, observe, await read(config, env));
  }

  tlsOf(door: Door): ServerTls | undefined {
    return this.#read[door];
  }

  get token(): string | undefined {
    return this.#read.token;
  }

  /** @throws as `open` does */
  async prepare(
    config: Config,
    renewTls: (door: Door, tls: ServerTls) => void,
  ): Promise<() => void> {
    const next = await read(config, this.#env);
    return () => {
      const before = this.#read;
      this.#read = next;
      if (before.token !== next.token) {
        this.#observe({ kind: 'secret-renewed', setting: 'admin.token' });
      }
      for (const door of ['registry', 'admin'] as const) {
        const tls = next[door];
        if (tls === undefined || isDeepStrictEqual(before[door], tls)) continue;
        renewTls(door, tls);
        this.#observe({ kind: 'secret-renewed', setting: `${door}.tls` });
      }
    };
  }
}

async function read({ registry, admin }: Config, env: Environment): Promise<Read> {
  return {
    token: admin.token === undefined ? undefined : await readSecret(admin.token, env),
    registry: await readTls('registry', registry.tls),
    admin: await readTls('admin', admin.tls),
  };
}

async function readTls(
  door: Door,
  files: Config['registry']['tls'],
): Promise<ServerTls | undefined> {
  if (files === undefined) return undefined;
  const { cert, key, clientCa } = files;
  const tls = {
    cert: await readFile(cert, 'utf8'),
    key: await readFile(key, 'utf8'),
    clientCa: clientCa === undefined ? undefined : await readFile(clientCa, 'utf8'),
  };
  try {
    createSecureContext(contextOptions(tls));
  } catch (cause) {
    const message = `${door}.tls: ${cert} and ${key} cannot be used together: ${(cause as Error).message}`;
    throw new StartFailure(message, { cause });
  }
  return tls;
}

import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import type { Observe } from '../base/events.ts';
import { readSecret } from '../config/load.ts';
import type { Environment } from '../config/environment.ts';
import type { Config } from '../config/schema.ts';
import type { ServerTls } from '../http/registry-server.ts';

interface Read {
  readonly tls: ServerTls | undefined;
  readonly token: string | undefined;
}

/** What the doors keep in files: the certificate of the registry, the token of the admin API. */
export class DoorSecrets {
  readonly #env: Environment;
  readonly #observe: Observe;
  #read: Read;

  private constructor(env: Environment, observe: Observe, read: Read) {
    this.#env = env;
    this.#observe = observe;
    this.#read = read;
  }

  /** @throws ConfigError, or Error of a certificate that cannot be read or used */
  static async open(config: Config, env: Environment, observe: Observe): Promise<DoorSecrets> {
    return new DoorSecrets(env, observe, await read(config, env));
  }

  get tls(): ServerTls | undefined {
    return this.#read.tls;
  }

  get token(): string | undefined {
    return this.#read.token;
  }

  /** @throws as `open` does */
  async prepare(config: Config, renewTls: (tls: ServerTls) => void): Promise<() => void> {
    const next = await read(config, this.#env);
    return () => {
      const before = this.#read;
      this.#read = next;
      if (before.token !== next.token) {
        this.#observe({ kind: 'secret-renewed', setting: 'admin.token' });
      }
      if (next.tls === undefined || isDeepStrictEqual(before.tls, next.tls)) return;
      renewTls(next.tls);
      this.#observe({ kind: 'secret-renewed', setting: 'registry.tls' });
    };
  }
}

async function read({ registry, admin }: Config, env: Environment): Promise<Read> {
  const token = admin.token === undefined ? undefined : await readSecret(admin.token, env);
  if (registry.tls === undefined) return { token, tls: undefined };
  const { cert, key, clientCa } = registry.tls;
  const tls = {
    cert: await readFile(cert, 'utf8'),
    key: await readFile(key, 'utf8'),
    clientCa: clientCa === undefined ? undefined : await readFile(clientCa, 'utf8'),
  };
  try {
    createSecureContext({ cert: tls.cert, key: tls.key, ca: tls.clientCa });
  } catch (cause) {
    const message = `registry.tls: ${cert} and ${key} cannot be used together: ${(cause as Error).message}`;
    throw new Error(message, { cause });
  }
  return { token, tls };
}

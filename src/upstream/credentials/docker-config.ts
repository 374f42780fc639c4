import { stat, readFile } from 'node:fs/promises';
import type { Credentials } from '../tokens.ts';
import { findWithHelper, type RunHelper } from './helper.ts';

/** Logins of one registry as `docker login` left them. */
export interface DockerConfigOptions {
  /** Of config.json. */
  readonly path: string;
  readonly registry: string;
  readonly run: RunHelper;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, DockerAuth>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

interface DockerAuth {
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
}

/**
 * Finds a login where the Docker CLI keeps it: `credHelpers` of the registry, else `credsStore`, else
 * `auths`. The file is read again when it changes.
 * @throws Error that names the file when it cannot be read as Docker's configuration
 */
export function dockerConfigCredentials(
  options: DockerConfigOptions,
): () => Promise<Credentials | undefined> {
  let kept: { readonly version: string; readonly config: DockerConfig } | undefined;
  const load = async (): Promise<DockerConfig> => {
    const { mtimeMs, size, ino } = await stat(options.path);
    const version = `${mtimeMs} ${size} ${ino}`;
    if (kept?.version !== version) {
      kept = { version, config: parseConfig(await readFile(options.path, 'utf8'), options.path) };
    }
    return kept.config;
  };
  const names = namesOf(options.registry);
  return async () => {
    const { auths = {}, credHelpers = {}, credsStore } = await load();
    const helper = names.map((name) => credHelpers[name]).find((found) => found !== undefined);
    for (const program of [helper, credsStore]) {
      if (program === undefined || program === '') continue;
      for (const name of helper === undefined ? names : names.slice(0, 1)) {
        const found = await findWithHelper(program, name, options.run);
        if (found !== undefined) return found;
      }
    }
    return names.map((name) => readAuth(auths[name])).find((found) => found !== undefined);
  };
}

/** What the Docker CLI may have called it, the usual one first. */
function namesOf(registry: string): string[] {
  if (registry === 'docker.io') {
    return ['https://index.docker.io/v1/', 'index.docker.io', 'docker.io', 'registry-1.docker.io'];
  }
  return [registry, `https://${registry}`, `https://${registry}/v1/`, `https://${registry}/v2/`];
}

function readAuth(auth: DockerAuth | undefined): Credentials | undefined {
  if (auth === undefined) return undefined;
  if (auth.identitytoken !== undefined && auth.identitytoken !== '') {
    return { username: '<token>', password: auth.identitytoken };
  }
  const text = Buffer.from(auth.auth ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  const username = auth.username ?? text.slice(0, Math.max(0, colon));
  const password = auth.password ?? text.slice(colon + 1);
  return username === '' || password === '' ? undefined : { username, password };
}

function parseConfig(text: string, path: string): DockerConfig {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    // Its message would quote the file, and there are passwords in it.
    throw new Error(`${path} is not JSON, as Docker's configuration is`);
  }
  if (typeof config === 'object' && config !== null) return config;
  throw new Error(`${path} is not Docker's configuration`);
}

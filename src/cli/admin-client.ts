import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { CliFailure, type CliIo } from './io.ts';

const defaultServer = 'http://127.0.0.1:5001';

/** Where the running server is, as a command line says. */
export interface ServerOptions {
  readonly server?: string;
  readonly tokenFile?: string;
}

/** The options of every command that speaks to the running server. */
export function addServerOptions(command: Command): Command {
  return command
    .option(
      '-s, --server <url>',
      `admin address of the running server (default: $ENTREPOT_SERVER, else ${defaultServer})`,
    )
    .option('--token-file <file>', 'file with the admin token, when the server asks for one');
}

/** The admin API of a running server, by the shapes in `src/api`. */
export class AdminClient {
  readonly #url: string;
  readonly #tokenFile: string | undefined;

  constructor(io: CliIo, options: ServerOptions) {
    this.#url = (options.server ?? (io.env['ENTREPOT_SERVER'] || defaultServer)).replace(/\/$/, '');
    this.#tokenFile = options.tokenFile;
  }

  /**
   * @param path below the server, such as `/api/v1/doctor`
   * @throws CliFailure when no server answers, or it refuses
   */
  async get<T>(path: string, shape: { parse(value: unknown): T }): Promise<T> {
    const response = await this.#fetch(path);
    if (response.status === 401) {
      throw new CliFailure(
        `the server at ${this.#url} asks for its admin token: name the file that holds it with --token-file`,
      );
    }
    if (!response.ok) {
      throw new CliFailure(`the server at ${this.#url} answered ${response.status} for ${path}`);
    }
    return shape.parse(await response.json());
  }

  async #fetch(path: string): Promise<Response> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.#tokenFile !== undefined) {
      headers['authorization'] = `Bearer ${await readToken(this.#tokenFile)}`;
    }
    try {
      return await fetch(`${this.#url}${path}`, { headers });
    } catch (error) {
      const { cause } = error as { cause?: { code?: string; message?: string } };
      const why = cause?.code ?? cause?.message ?? (error as Error).message;
      throw new CliFailure(
        `no server answers at ${this.#url} (${why}); start one with «entrepot serve», or name the admin address of the one that runs with --server or ENTREPOT_SERVER`,
      );
    }
  }
}

async function readToken(file: string): Promise<string> {
  let token: string;
  try {
    token = (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new CliFailure(`the admin token cannot be read: ${(error as Error).message}`);
  }
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new CliFailure(`there is no token in ${file}: it must be one line without blanks`);
}

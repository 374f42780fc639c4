import { readFile } from 'node:fs/promises';
import type Http from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { CliFailure, exitCodes, usageFailure, type CliIo } from './io.ts';

// An import of node:http, or `fetch`, also loads undici: 40 of the 150 ms that `stats` may take.
const require = createRequire(import.meta.url);

/** Where archives are sent to. */
export const importPath = '/api/v1/import';

const jsonType = 'application/json';
const tarType = 'application/x-tar';
const streamType = 'text/event-stream';

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
    .option(
      '--token-file <file>',
      'file with the admin token, when the server asks for one (default: $ENTREPOT_TOKEN_FILE)',
    );
}

/** The admin API of a running server, by the shapes in `src/api`. */
export class AdminClient {
  readonly #url: string;
  readonly #tokenFile: string | undefined;
  /** Ctrl-C. */
  readonly #interrupted: AbortSignal | undefined;

  constructor(io: CliIo, options: ServerOptions) {
    const url = options.server ?? (io.env['ENTREPOT_SERVER'] || defaultServer);
    if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
      const name = options.server === undefined ? 'ENTREPOT_SERVER' : '--server';
      throw usageFailure(`${name}: «${url}» is not a URL; write for example ${defaultServer}`);
    }
    this.#interrupted = io.interrupted;
    this.#url = url.replace(/\/$/, '');
    this.#tokenFile = options.tokenFile ?? (io.env['ENTREPOT_TOKEN_FILE'] || undefined);
  }

  /** Such as `http://127.0.0.1:5001`. */
  get url(): string {
    return this.#url;
  }

  /**
   * @param path below the server, such as `/api/v1/doctor`
   * @throws CliFailure when no server answers, or it refuses
   */
  get<T>(path: string, shape?: { parse(value: unknown): T }): Promise<T> {
    return this.ask('GET', path, undefined, shape);
  }

  /** As `get`, with another method, and a body sent as JSON. */
  async ask<T>(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
    shape?: { parse(value: unknown): T },
  ): Promise<T> {
    const text = await this.#textOf(await this.#fetch(method, path, body));
    const answer: unknown = text === '' ? undefined : JSON.parse(text);
    // Without a shape the server is trusted to answer by the one that both have.
    return shape === undefined ? (answer as T) : shape.parse(answer);
  }

  /** All items of a list, page by page. */
  async *list<T>(path: string): AsyncGenerator<T, void> {
    const separator = path.includes('?') ? '&' : '?';
    for (let after: string | null = null; ;) {
      const more: string = after === null ? '' : `&after=${encodeURIComponent(after)}`;
      const page: { items: T[]; next: string | null } = await this.get(
        `${path}${separator}limit=1000${more}`,
      );
      yield* page.items;
      if (page.next === null) return;
      after = page.next;
    }
  }

  /** The same in one array, of lists that are short by their nature. */
  async all<T>(path: string): Promise<T[]> {
    const items: T[] = [];
    for await (const item of this.list<T>(path)) items.push(item);
    return items;
  }

  /** The data of server-sent events, until the server ends them or Ctrl-C does. */
  async *events<T>(path: string): AsyncGenerator<T, void> {
    const response = await this.#fetch('GET', path, undefined, streamType);
    let rest = '';
    try {
      for await (const text of response.setEncoding('utf8')) {
        const lines = `${rest}${String(text)}`.split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          if (line.startsWith('data: ')) yield JSON.parse(line.slice(6)) as T;
        }
      }
    } catch (error) {
      if (this.#interrupted?.aborted === true) return;
      throw this.#broken(error);
    }
  }

  /**
   * Sends a tar as it comes into being, and answers what the server says of it.
   * @throws CliFailure as `get`
   */
  async upload(path: string, bytes: AsyncIterable<Uint8Array>): Promise<unknown> {
    const { outgoing, answered } = await this.#open('POST', path, tarType);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    answered.then(resolve, reject);
    const sending = pipeline(Readable.from(bytes, { objectMode: false }), outgoing);
    // A refusal comes before all is sent, and breaks the sending; what it says is what counts.
    sending.catch(reject);
    try {
      const incoming = await promise;
      const answer = await this.#textOf(incoming);
      const status = incoming.statusCode ?? 0;
      if (status === 200 && isOfType(incoming, jsonType)) return JSON.parse(answer);
      throw this.#refusal(status, answer, path);
    } catch (error) {
      throw error instanceof CliFailure ? error : this.#unreachable(error);
    } finally {
      outgoing.destroy();
    }
  }

  /** The body of an answer, as it comes. @throws CliFailure as `get` */
  async download(
    path: string,
  ): Promise<{ sizeBytes: number | undefined; body: AsyncIterable<Uint8Array> }> {
    const response = await this.#fetch('GET', path, undefined, tarType);
    const length = response.headers['content-length'];
    const sizeBytes = length === undefined ? undefined : Number(length);
    return { sizeBytes, body: this.#bodyOf(response) };
  }

  async *#bodyOf(response: IncomingMessage): AsyncGenerator<Uint8Array, void> {
    try {
      for await (const chunk of response) yield chunk as Uint8Array;
    } catch (error) {
      throw this.#interrupted?.aborted === true ? stopped() : error;
    }
  }

  async #fetch(
    method: string,
    path: string,
    body?: unknown,
    type: string = jsonType,
  ): Promise<IncomingMessage> {
    let response: IncomingMessage;
    try {
      const sent = body === undefined ? undefined : jsonType;
      const { outgoing, answered } = await this.#open(method, path, sent);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
      response = await answered;
    } catch (error) {
      throw error instanceof CliFailure ? error : this.#unreachable(error);
    }
    const { statusCode: status = 0 } = response;
    // Whatever else listens there may answer everything with a page of its own.
    const isOurs = status === 204 || isOfType(response, type);
    if (status >= 200 && status < 300 && isOurs) return response;
    throw this.#refusal(status, await this.#textOf(response), path);
  }

  /** A request whose body is to be sent. */
  async #open(
    method: string,
    path: string,
    type: string | undefined,
  ): Promise<{ outgoing: ClientRequest; answered: Promise<IncomingMessage> }> {
    const headers = await this.#headers();
    if (type !== undefined) headers['content-type'] = type;
    const url = new URL(`${this.#url}${path}`);
    const name = url.protocol === 'https:' ? 'node:https' : 'node:http';
    const { request } = require(name) as Pick<typeof Http, 'request'>;
    const { promise: answered, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const signal = this.#interrupted;
    const options = { method, headers, ...(signal === undefined ? {} : { signal }) };
    const outgoing = request(url, options, resolve).on('error', reject);
    // Who sends may fail first, and say so.
    answered.catch(() => {});
    return { outgoing, answered };
  }

  async #headers(): Promise<Record<string, string>> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (this.#tokenFile !== undefined) {
      headers['authorization'] = `Bearer ${await readToken(this.#tokenFile)}`;
    }
    return headers;
  }

  async #textOf(response: IncomingMessage): Promise<string> {
    let text = '';
    try {
      for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
    } catch (error) {
      throw this.#broken(error);
    }
    return text;
  }

  #broken(error: unknown): CliFailure {
    if (this.#interrupted?.aborted === true) return stopped();
    return new CliFailure(
      `the connection to the server at ${this.#url} broke (${(error as Error).message}); what it does goes on without us`,
    );
  }

  #unreachable(error: unknown): CliFailure {
    if (this.#interrupted?.aborted === true) return stopped();
    const { cause, code } = error as { code?: string; cause?: { code?: string; message?: string } };
    const why = cause?.code ?? cause?.message ?? code ?? (error as Error).message;
    return new CliFailure(
      `no server answers at ${this.#url} (${why}); start one with «entrepot serve», or name the admin address of the one that runs with --server or ENTREPOT_SERVER`,
    );
  }

  #refusal(status: number, text: string, path: string): CliFailure {
    if (status !== 401) {
      // 400 is said of what was asked, which is what was typed; of an archive, of what is in it.
      const exitCode =
        status === 400 && !path.startsWith(importPath) ? exitCodes.usage : exitCodes.failed;
      return new CliFailure(`${reasonOf(status, text, path)} (${this.#url})`, exitCode);
    }
    return new CliFailure(
      this.#tokenFile === undefined
        ? `the server at ${this.#url} asks for its admin token: name the file that holds it with --token-file`
        : `the server at ${this.#url} does not take this token: look at ${this.#tokenFile}, and at admin.token of the server`,
    );
  }
}

function stopped(): CliFailure {
  return new CliFailure('stopped; what the server has begun it goes on with');
}

function isOfType({ headers }: IncomingMessage, type: string): boolean {
  return headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() === type;
}

/** What a problem of RFC 9457 says; another answer is not the admin API's. */
function reasonOf(status: number, text: string, path: string): string {
  try {
    const { title, detail, errors } = JSON.parse(text) as {
      title?: string;
      detail?: string;
      errors?: { path?: string; code?: string; message: string }[];
    };
    // Errors of the registry API have codes. Source: distribution-spec, «Error Codes».
    if (title === undefined && errors?.[0]?.code !== undefined) {
      return `this is the registry port, which clients pull from; name the admin address with --server or ENTREPOT_SERVER, such as ${defaultServer}`;
    }
    const places = errors?.map((error) => `${error.path}: ${error.message}`);
    const parts = [title, detail, ...(places ?? [])].filter((part) => part !== undefined);
    if (parts.length > 0) return parts.join('; ');
  } catch {
    // Said below.
  }
  return `the server answered ${status} for ${path}, which is not Entrepot's admin API`;
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

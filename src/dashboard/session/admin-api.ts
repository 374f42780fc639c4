import { signal } from '@preact/signals';
import type { Problem } from '../../api/common.ts';
import { readEvents, type ServerEvent } from './event-stream.ts';

/** The server refused, or could not be reached: then the status is 0. */
export class ApiError extends Error {
  readonly status: number;
  readonly detail: string | undefined;

  constructor(problem: Problem) {
    super(problem.title);
    this.name = 'ApiError';
    this.status = problem.status;
    const places = problem.errors?.map(({ path, message }) => `${path}: ${message}`);
    this.detail = problem.detail ?? places?.join('\n');
  }
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

interface AskOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

const tokenKey = 'entrepot-token';

/** The admin API of the server that this page came from. Paths are relative to `api/v1/`. */
export class AdminApi {
  /** The server wants a token that it was not shown. */
  readonly isLocked = signal(false);
  readonly #storage: Storage;

  /** @param storage keeps the token; that of the tab, so that it ends with it */
  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Only who shows a token gets an answer; links of the browser's own show none. */
  get usesToken(): boolean {
    return this.isLocked.value || this.#storage.getItem(tokenKey) !== null;
  }

  /** @throws ApiError */
  get<T>(path: string, options: AskOptions = {}): Promise<T> {
    return this.#ask('GET', path, options);
  }

  /** @throws ApiError */
  post<T>(path: string, options: AskOptions = {}): Promise<T> {
    return this.#ask('POST', path, options);
  }

  /** @throws ApiError */
  put<T>(path: string, options: AskOptions = {}): Promise<T> {
    return this.#ask('PUT', path, options);
  }

  /** @throws ApiError */
  delete<T>(path: string, options: AskOptions = {}): Promise<T> {
    return this.#ask('DELETE', path, options);
  }

  /** Tells the events of a stream until it ends or is aborted. @throws ApiError */
  async follow(
    path: string,
    tell: (event: ServerEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const answer = await this.#fetch('GET', path, { signal });
    if (answer.body === null) return;
    try {
      await readEvents(answer.body, tell);
    } catch (error) {
      if (!signal.aborted) throw unreachable(error);
    }
  }

  /** Why clients should not be sent to this server; empty when they should. @throws ApiError */
  async readiness(signal: AbortSignal): Promise<readonly string[]> {
    try {
      const answer = await fetch('readyz', { signal });
      const { reasons } = (await answer.json()) as { reasons?: readonly string[] };
      return reasons ?? [];
    } catch (error) {
      throw unreachable(error);
    }
  }

  /** Whether the server takes the token; it is kept if so. @throws ApiError for any other trouble */
  async unlock(token: string): Promise<boolean> {
    this.#storage.setItem(tokenKey, token);
    try {
      await this.get('stats');
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return false;
      throw error;
    }
    this.isLocked.value = false;
    return true;
  }

  async #ask<T>(method: string, path: string, options: AskOptions): Promise<T> {
    const answer = await this.#fetch(method, path, options);
    if (answer.status === 204) return undefined as T;
    try {
      return (await answer.json()) as T;
    } catch (error) {
      throw unreachable(error);
    }
  }

  async #fetch(method: string, path: string, options: AskOptions): Promise<Response> {
    const { query = {}, body, signal } = options;
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) parameters.set(name, String(value));
    }
    const search = parameters.size === 0 ? '' : `?${parameters}`;
    const token = this.#storage.getItem(tokenKey);
    const headers = new Headers();
    if (token !== null) headers.set('Authorization', `Bearer ${token}`);
    if (body !== undefined) headers.set('Content-Type', 'application/json');
    let answer: Response;
    try {
      answer = await fetch(`api/v1/${path}${search}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      throw unreachable(error);
    }
    if (answer.ok) return answer;
    if (answer.status === 401) this.isLocked.value = true;
    throw new ApiError(await problemOf(answer));
  }
}

/** What a person can be told of an error, whatever it is. */
export function apiErrorOf(error: unknown): ApiError {
  return error instanceof ApiError ? error : unreachable(error);
}

function unreachable(error: unknown): ApiError {
  return new ApiError({ title: error instanceof Error ? error.message : String(error), status: 0 });
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    return (await answer.json()) as Problem;
  } catch {
    return { title: answer.statusText, status: answer.status };
  }
}

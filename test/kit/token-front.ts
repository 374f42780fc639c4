import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer,
  request as sendRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

/** A private registry: a real one, behind tokens for one login, its blobs at another address. */
export interface TokenFront extends AsyncDisposable {
  readonly url: string;
  /** `127.0.0.1:port` of where blobs are redirected to. */
  readonly storageHost: string;
  /** Tokens that were issued. */
  readonly tokens: readonly string[];
  /** Requests for blobs with a login of any kind at the storage, which must never see one. */
  readonly leaks: number;
}

/** @param registryUrl the real one, without a login */
export async function startTokenFront(
  registryUrl: string,
  login: { readonly username: string; readonly password: string },
): Promise<TokenFront> {
  const tokens: string[] = [];
  let leaks = 0;
  const basic = Buffer.from(`${login.username}:${login.password}`).toString('base64');
  const storage = createServer((request, response) => {
    if (request.headers.authorization !== undefined) leaks += 1;
    passOn(registryUrl, request, response);
  });
  await listen(storage);
  const storageHost = hostOf(storage);
  const front = createServer((request, response) => {
    const { authorization = '' } = request.headers;
    if (request.url?.startsWith('/token?') === true) {
      const isKnown = authorization === `Basic ${basic}`;
      const token = `front-token-${randomUUID()}`;
      if (isKnown) tokens.push(token);
      response.writeHead(isKnown ? 200 : 401, { 'content-type': 'application/json' });
      response.end(JSON.stringify(isKnown ? { token, expires_in: 300 } : {}));
    } else if (!tokens.includes(authorization.replace('Bearer ', ''))) {
      const realm = `http://${hostOf(front)}/token`;
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="front"` });
      response.end();
    } else if (/\/blobs\//.test(request.url ?? '')) {
      const location = `http://${storageHost}${request.url}?signature=s3cret`;
      response.writeHead(307, { location }).end();
    } else {
      passOn(registryUrl, request, response);
    }
  });
  await listen(front);
  return {
    url: `http://${hostOf(front)}`,
    storageHost,
    tokens,
    get leaks() {
      return leaks;
    },
    [Symbol.asyncDispose]: async () => {
      for (const server of [front, storage]) {
        const closed = once(server, 'close');
        server.close();
        server.closeAllConnections();
        await closed;
      }
    },
  };
}

function passOn(to: string, request: IncomingMessage, response: ServerResponse): void {
  const { authorization: _, host: __, ...headers } = request.headers;
  const url = new URL(request.url ?? '/', to);
  const onward = sendRequest(url, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  response.on('close', () => onward.destroy());
  onward.end();
}

async function listen(server: ReturnType<typeof createServer>): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
}

function hostOf(server: ReturnType<typeof createServer>): string {
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

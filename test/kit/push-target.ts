import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A registry that is pushed to, in memory, by the rules of the distribution-spec. */
export interface PushTargetServer extends AsyncDisposable {
  readonly url: string;
  /** Bytes of blobs that arrived. */
  readonly blobBytes: number;
  /** `METHOD kind`, such as `PUT manifest`, in order. */
  readonly asked: readonly string[];
  /** What is refused because it names what is not here. */
  readonly refused: number;
  tag(repository: string, tag: string): string | undefined;
  manifest(repository: string, digest: string): Buffer | undefined;
  has(repository: string, digest: string): boolean;
  /** The next upload breaks off after so many bytes of its body. */
  breakAfter(bytes: number): void;
}

interface Held {
  readonly blobs: Map<string, Buffer>;
  readonly manifests: Map<string, Buffer>;
  readonly tags: Map<string, string>;
}

/** @param options.token what must be shown; it is given out at `/token` for the scope of a push */
export async function startPushTarget(
  options: { readonly token?: string; readonly relative?: boolean } = {},
): Promise<PushTargetServer> {
  const repositories = new Map<string, Held>();
  const uploads = new Map<string, Buffer[]>();
  const asked: string[] = [];
  let blobBytes = 0;
  let refused = 0;
  let breakAfter = Infinity;
  const heldOf = (name: string): Held => {
    const held = repositories.get(name) ?? {
      blobs: new Map<string, Buffer>(),
      manifests: new Map<string, Buffer>(),
      tags: new Map<string, string>(),
    };
    repositories.set(name, held);
    return held;
  };

  const readUpload = async (request: IncomingMessage, parts: Buffer[]): Promise<void> => {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      parts.push(chunk);
      blobBytes += chunk.length;
      breakAfter -= chunk.length;
      if (breakAfter > 0) continue;
      breakAfter = Infinity;
      request.socket.destroy();
      return;
    }
  };

  const answerUpload = async (
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    url: URL,
  ): Promise<void> => {
    const { method } = request;
    const id = url.pathname.split('/').at(-1) ?? '';
    if (method === 'POST') {
      const mount = url.searchParams.get('mount');
      const from = url.searchParams.get('from');
      const blob = mount === null ? undefined : heldOf(from ?? '').blobs.get(mount);
      if (mount !== null && blob !== undefined) {
        heldOf(name).blobs.set(mount, blob);
        response.writeHead(201).end();
        return;
      }
      const fresh = randomUUID();
      uploads.set(fresh, []);
      response.writeHead(202, { location: locationOf(name, fresh) }).end();
      return;
    }
    const parts = uploads.get(id);
    if (parts === undefined || url.searchParams.get('state') !== 'kept') {
      response.writeHead(404).end();
      return;
    }
    const received = (): number => parts.reduce((sum, { length }) => sum + length, 0);
    if (method === 'GET') {
      const range = `0-${Math.max(0, received() - 1)}`;
      response.writeHead(204, { location: locationOf(name, id), range }).end();
    } else if (method === 'PATCH') {
      const start = Number(/^(\d+)-/.exec(request.headers['content-range'] ?? '')?.[1]);
      if (start !== received()) {
        response.writeHead(416).end();
        return;
      }
      await readUpload(request, parts);
      response.writeHead(202, { location: locationOf(name, id) }).end();
    } else if (method === 'DELETE') {
      uploads.delete(id);
      response.writeHead(204).end();
    } else {
      await readUpload(request, parts);
      const bytes = Buffer.concat(parts);
      const digest = url.searchParams.get('digest') ?? '';
      const isRight = digest === digestOf(bytes);
      if (isRight) heldOf(name).blobs.set(digest, bytes);
      else refused += 1;
      uploads.delete(id);
      response.writeHead(isRight ? 201 : 400).end();
    }
  };

  const answerManifest = async (
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    reference: string,
  ): Promise<void> => {
    const held = heldOf(name);
    const digest = held.tags.get(reference) ?? reference;
    if (request.method !== 'PUT') {
      const isHere = held.manifests.has(digest);
      response.writeHead(isHere ? 200 : 404, { 'docker-content-digest': digest }).end();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const { config, layers, manifests } = JSON.parse(bytes.toString()) as {
      config?: { digest: string };
      layers?: { digest: string }[];
      manifests?: { digest: string }[];
    };
    const blobs = [...(config === undefined ? [] : [config]), ...(layers ?? [])];
    const isWhole =
      blobs.every((blob) => held.blobs.has(blob.digest)) &&
      (manifests ?? []).every((child) => held.manifests.has(child.digest));
    if (!isWhole) refused += 1;
    else {
      held.manifests.set(digestOf(bytes), bytes);
      if (!reference.startsWith('sha256:')) held.tags.set(reference, digestOf(bytes));
    }
    response.writeHead(isWhole ? 201 : 400).end();
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', here());
    if (url.pathname === '/token') {
      const isPush = url.searchParams.get('scope')?.endsWith(':pull,push') === true;
      response.end(JSON.stringify({ token: isPush ? options.token : 'only-for-pulls' }));
      return;
    }
    const { token } = options;
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) {
      const challenge = `Bearer realm="${here()}/token",service="target"`;
      request.resume();
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return;
    }
    const match = /^\/v2\/(.+?)\/(blobs\/uploads|blobs|manifests)\/(.*)$/.exec(url.pathname);
    const [, name = '', kind = '', reference = ''] = match ?? [];
    asked.push(`${request.method} ${kind === 'blobs/uploads' ? 'upload' : kind.slice(0, -1)}`);
    if (kind === 'blobs/uploads') await answerUpload(request, response, name, url);
    else if (kind === 'manifests') await answerManifest(request, response, name, reference);
    else response.writeHead(heldOf(name).blobs.has(reference) ? 200 : 404).end();
  };

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const here = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const locationOf = (name: string, id: string): string =>
    `${options.relative === true ? '' : here()}/v2/${name}/blobs/uploads/${id}?state=kept`;
  return {
    url: here(),
    get blobBytes() {
      return blobBytes;
    },
    asked,
    get refused() {
      return refused;
    },
    tag: (repository, tag) => heldOf(repository).tags.get(tag),
    manifest: (repository, digest) => heldOf(repository).manifests.get(digest),
    has: (repository, digest) => heldOf(repository).blobs.has(digest),
    breakAfter: (bytes) => {
      breakAfter = bytes;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { mediaTypes } from '../../src/oci/manifest.ts';
import {
  matches,
  Script,
  type Fault,
  type RecordedRequest,
  type RequestFilter,
  type Rule,
} from './faults.ts';
import { descriptorOf, type Image, type ImageIndex, type Piece } from './images.ts';
import {
  errorContent,
  jsonContent,
  rangedContent,
  sendContent,
  sendRedirect,
  startPace,
  type Content,
  type Pace,
} from './scripted-answer.ts';
import { Tokens, type AuthOptions } from './scripted-tokens.ts';

export interface ScriptedRegistryOptions {
  readonly rules?: readonly Rule[];
  /** Bytes per second of each connection, in steps of 10 ms; unlimited unless told. */
  readonly rateBytesPerSecond?: number;
  /** Of all connections together: the link to this upstream. */
  readonly linkBytesPerSecond?: number;
  /** Before the headers of every answer. */
  readonly latencyMs?: number;
  readonly auth?: AuthOptions;
  /** `false`: 404, as registries without the referrers API answer. */
  readonly referrers?: boolean;
}

interface HeldRepository {
  readonly manifests: Map<string, Piece>;
  readonly blobs: Map<string, Piece>;
  readonly tags: Map<string, string>;
}

/** Starts an upstream registry on a free loopback port, which records what is asked and misbehaves as told. */
export async function startScriptedRegistry(
  options: ScriptedRegistryOptions = {},
): Promise<ScriptedRegistry> {
  const registry = new ScriptedRegistry(options);
  await registry.restart();
  return registry;
}

export class ScriptedRegistry implements AsyncDisposable {
  /** Everything that was asked, in order, tokens included. */
  readonly requests: RecordedRequest[] = [];
  readonly #options: ScriptedRegistryOptions;
  readonly #script: Script;
  readonly #tokens: Tokens | undefined;
  readonly #link: Pace;
  readonly #repositories = new Map<string, HeldRepository>();
  readonly #arrivals = new Set<() => void>();
  #server: Server | undefined;
  #port = 0;

  constructor(options: ScriptedRegistryOptions) {
    this.#options = options;
    this.#link = startPace(options.linkBytesPerSecond, 'link');
    this.#script = new Script(options.rules ?? []);
    this.#tokens = options.auth === undefined ? undefined : new Tokens(options.auth);
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get url(): string {
    return `http://${this.host}`;
  }

  /** Holds an image, or an index with all its images, under the tag when one is given. */
  add(repository: string, content: Image | ImageIndex, tag?: string): void {
    const held = this.#held(repository);
    const images = 'images' in content ? content.images : [content];
    for (const image of images) {
      for (const piece of [image.config, ...image.layers]) held.blobs.set(piece.digest, piece);
      held.manifests.set(image.manifest.digest, image.manifest);
    }
    held.manifests.set(content.manifest.digest, content.manifest);
    if (tag !== undefined) held.tags.set(tag, content.manifest.digest);
  }

  addBlob(repository: string, blob: Piece): void {
    this.#held(repository).blobs.set(blob.digest, blob);
  }

  /** Any bytes as a manifest, right or wrong. */
  addManifest(repository: string, manifest: Piece, tag?: string): void {
    this.#held(repository).manifests.set(manifest.digest, manifest);
    if (tag !== undefined) this.#held(repository).tags.set(tag, manifest.digest);
  }

  /** Forgets a tag, a manifest or a blob of a repository. */
  remove(repository: string, reference: string): void {
    const held = this.#held(repository);
    held.tags.delete(reference);
    held.manifests.delete(reference);
    held.blobs.delete(reference);
  }

  /** Appends rules; earlier ones go first. */
  script(...rules: Rule[]): void {
    this.#script.add(...rules);
  }

  /** Behaves well from now on. */
  clearScript(): void {
    this.#script.clear();
  }

  matching(filter: RequestFilter): RecordedRequest[] {
    return this.requests.filter((request) => matches(filter, request));
  }

  count(filter: RequestFilter = {}): number {
    return this.matching(filter).length;
  }

  /** Body bytes sent of this content, or of all; refusals and challenges are none. */
  bytesSent(digest?: string): number {
    return this.matching(digest === undefined ? {} : { reference: digest })
      .filter((request) => request.status < 300)
      .reduce((total, request) => total + request.bodyBytesSent, 0);
  }

  /** Resolves once `times` matching requests have arrived, counted from the start. */
  async arrived(filter: RequestFilter, times = 1): Promise<RecordedRequest> {
    while (this.count(filter) < times) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#arrivals.add(resolve);
      await promise;
      this.#arrivals.delete(resolve);
    }
    return this.matching(filter)[times - 1]!;
  }

  /** No issued token is good any more. */
  revokeTokens(): void {
    this.#tokens?.revoke();
  }

  /** Cuts every connection; the port refuses until `restart`. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    server.closeAllConnections();
    await promise;
  }

  /** Listens, on the port of before if there was one. */
  async restart(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        // A client that leaves is normal; anything else must not pass for an upstream fault.
        if (!response.destroyed) response.destroy(error as Error);
      });
    });
    server.on('error', reject);
    server.listen(this.#port, '127.0.0.1', 4096, resolve);
    await promise;
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const record = recordOf(request);
    this.requests.push(record);
    for (const wake of this.#arrivals) wake();
    const challenge =
      record.kind === 'token' ? undefined : this.#tokens?.challenge(record, this.url);
    // The script is about requests that may pass: a challenge uses up no rule.
    const fault = challenge === undefined ? this.#script.faultFor(record) : {};
    request.resume();
    if (fault.holdUntil !== undefined) await fault.holdUntil;
    const delayMs = (fault.delayMs ?? 0) + (this.#options.latencyMs ?? 0);
    if (delayMs > 0) await sleep(delayMs);
    if (fault.hangUp === true) {
      request.socket.resetAndDestroy();
      return;
    }

    const rateBytesPerSecond = fault.rateBytesPerSecond ?? this.#options.rateBytesPerSecond;
    const sending = { record, response, fault, rateBytesPerSecond, link: this.#link };
    if (fault.redirectTo !== undefined) sendRedirect(sending, fault.redirectTo);
    else if (fault.status !== undefined) await sendContent(sending, scriptedContent(fault));
    else await sendContent(sending, challenge ?? this.#contentFor(record));
  }

  #contentFor(record: RecordedRequest): Content {
    if (record.kind === 'token')
      return this.#tokens?.issue(record) ?? errorContent(404, 'UNSUPPORTED');
    if (record.kind === 'ping') return jsonContent(200, {});
    if (record.method !== 'GET' && record.method !== 'HEAD')
      return errorContent(405, 'UNSUPPORTED');
    const held = this.#repositories.get(record.repository ?? '');
    if (held === undefined) return errorContent(404, 'NAME_UNKNOWN');
    const reference = record.reference ?? '';
    if (record.kind === 'manifest') {
      const piece = held.manifests.get(held.tags.get(reference) ?? reference);
      return piece === undefined ? errorContent(404, 'MANIFEST_UNKNOWN') : pieceContent(piece);
    }
    if (record.kind === 'blob') {
      const piece = held.blobs.get(reference);
      if (piece === undefined) return errorContent(404, 'BLOB_UNKNOWN');
      return rangedContent(record, pieceContent(piece));
    }
    if (record.kind === 'tags') return tagsContent(record, [...held.tags.keys()]);
    if (record.kind === 'referrers' && this.#options.referrers !== false) {
      return referrersContent(record, [...held.manifests.values()]);
    }
    return errorContent(404, 'UNSUPPORTED');
  }

  #held(repository: string): HeldRepository {
    let held = this.#repositories.get(repository);
    if (held === undefined) {
      held = { manifests: new Map(), blobs: new Map(), tags: new Map() };
      this.#repositories.set(repository, held);
    }
    return held;
  }
}

function recordOf(request: IncomingMessage): RecordedRequest {
  const path = request.url ?? '/';
  const { pathname, searchParams } = new URL(path, 'http://upstream');
  const match = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(pathname);
  const kinds = { manifests: 'manifest', blobs: 'blob', tags: 'tags', referrers: 'referrers' };
  const named = {
    '/v2/': 'ping',
    '/v2': 'ping',
    '/v2/_catalog': 'catalog',
    '/token': 'token',
  }[pathname];
  const kind = match === null ? (named ?? 'other') : kinds[match[2] as keyof typeof kinds];
  return {
    method: request.method ?? 'GET',
    path,
    kind: kind as RecordedRequest['kind'],
    repository: match?.[1],
    reference: kind === 'token' ? (searchParams.get('scope') ?? undefined) : match?.[3],
    range: request.headers.range,
    headers: request.headers,
    at: performance.now(),
    status: 0,
    bodyBytesSent: 0,
  };
}

function scriptedContent(fault: Fault): Content {
  const status = fault.status ?? 200;
  if (fault.body === undefined && status >= 400) return errorContent(status, 'UNKNOWN');
  return { status, headers: {}, bytes: Buffer.from(fault.body ?? '') };
}

function pieceContent(piece: Piece): Content {
  return {
    status: 200,
    headers: {
      'content-type': piece.mediaType,
      'docker-content-digest': piece.digest,
      etag: `"${piece.digest}"`,
    },
    bytes: piece.bytes,
  };
}

function tagsContent(record: RecordedRequest, tags: string[]): Content {
  const { searchParams } = new URL(record.path, 'http://upstream');
  const last = searchParams.get('last');
  const after = tags.sort().filter((tag) => last === null || tag > last);
  const limit = Number(searchParams.get('n') ?? Infinity);
  const page = after.slice(0, limit);
  const content = jsonContent(200, { name: record.repository, tags: page });
  if (page.length === after.length || page.length === 0) return content;
  const next = `/v2/${record.repository}/tags/list?n=${limit}&last=${page.at(-1)}`;
  return { ...content, headers: { ...content.headers, link: `<${next}>; rel="next"` } };
}

function referrersContent(record: RecordedRequest, manifests: Piece[]): Content {
  const wanted = new URL(record.path, 'http://upstream').searchParams.get('artifactType');
  const found = manifests.flatMap((piece) => {
    const manifest = JSON.parse(piece.bytes.toString()) as ReferringManifest;
    const artifactType = manifest.artifactType ?? manifest.config?.mediaType;
    if (manifest.subject?.digest !== record.reference) return [];
    if (wanted !== null && artifactType !== wanted) return [];
    return [{ ...descriptorOf(piece), artifactType, annotations: manifest.annotations }];
  });
  const content = jsonContent(
    200,
    { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: found },
    mediaTypes.ociIndex,
  );
  if (wanted === null) return content;
  return { ...content, headers: { ...content.headers, 'oci-filters-applied': 'artifactType' } };
}

interface ReferringManifest {
  readonly subject?: { readonly digest: string };
  readonly artifactType?: string;
  readonly config?: { readonly mediaType: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

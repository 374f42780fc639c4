import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Observe, RequestEvent } from '../base/events.ts';
import type { ByteRange } from '../base/intervals.ts';
import { blobMediaType } from '../oci/descriptor.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { mediaTypes } from '../oci/manifest.ts';
import { referenceText, repositoryKey, type Repository } from '../oci/reference.ts';
import type { ListAnswer } from '../mirror/listings.ts';
import type { ManifestAnswer } from '../mirror/manifest-answer.ts';
import type { Mirror } from '../mirror/mirror.ts';
import {
  addWarning,
  commonHeaders,
  contentHeaders,
  sendError,
  sendJson,
  type HeaderList,
} from './answers.ts';
import { BodySender } from './body.ts';
import { bytesReader } from './bytes-reader.ts';
import { catalogPage, nextLink, pageOfList } from './paging.ts';
import { parseTarget, type RegistryRequest } from './request.ts';
import { sendContent, sendDescription } from './send-content.ts';

/** Clients give up on headers after 30 s; an honest error before that lets them go on. */
const headersDeadlineMs = 25_000;

type Facts = { -readonly [K in keyof RequestEvent]: RequestEvent[K] };

type Of<W extends RegistryRequest['what']> = Extract<RegistryRequest, { what: W }>;

/** The pull side of the distribution-spec over one mirror. */
export class RegistryRoutes {
  readonly #mirror: Mirror;
  readonly #observe: Observe;
  readonly #sending = new Set<Facts>();
  readonly #bodies = new BodySender();

  constructor(mirror: Mirror, observe: Observe) {
    this.#mirror = mirror;
    this.#observe = observe;
  }

  /** What went out of answers that no event has told of yet. */
  get underWayBytes(): number {
    let bytes = 0;
    for (const { sentBytes } of this.#sending) bytes += sentBytes;
    return bytes;
  }

  /** Answers one request, whatever comes; never throws. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startMs = performance.now();
    const isHead = request.method === 'HEAD';
    const facts: Facts = {
      kind: 'request',
      method: request.method ?? '',
      what: 'other',
      repository: undefined,
      reference: undefined,
      status: 0,
      outcome: undefined,
      sentBytes: 0,
      durationMs: 0,
      client: request.socket.remoteAddress ?? '',
      aborted: false,
      errorCode: undefined,
      errorMessage: undefined,
    };
    let ns: string | undefined;
    try {
      refuseWrites(request);
      const asked = parseTarget(request.url ?? '', this.#mirror);
      ns = asked.ns;
      facts.what = asked.what;
      if ('repository' in asked) facts.repository = repositoryKey(asked.repository);
      await this.#route(asked, request, response, facts, isHead);
    } catch (error) {
      this.#fail(error, response, facts, ns, isHead);
    }
    facts.status ||= response.statusCode;
    facts.durationMs = performance.now() - startMs;
    this.#sending.delete(facts);
    this.#observe(facts);
  }

  #fail(
    error: unknown,
    response: ServerResponse,
    facts: Facts,
    ns: string | undefined,
    isHead: boolean,
  ): void {
    facts.errorCode = isMirrorError(error) ? error.code : 'BUG';
    facts.errorMessage = error instanceof Error ? error.message : String(error);
    if (!isMirrorError(error)) this.#observe({ kind: 'bug', where: 'request', error });
    if (response.headersSent) response.destroy();
    else if (!response.destroyed) sendError(response, error, ns, isHead);
  }

  #route(
    asked: RegistryRequest,
    request: IncomingMessage,
    response: ServerResponse,
    facts: Facts,
    isHead: boolean,
  ): Promise<void> | void {
    switch (asked.what) {
      case 'ping':
        // Independent of upstream's health, and without a challenge: dockerd would answer one with
        // the user's Docker Hub password.
        sendJson(response, commonHeaders(asked.ns), 'application/json', {}, isHead);
        return;
      case 'manifest':
        return this.#manifest(asked, request, response, facts, isHead);
      case 'blob':
        return isHead
          ? this.#describeBlob(asked, request, response, facts)
          : this.#blob(asked, request, response, facts);
      case 'tags':
        return this.#tags(asked, response, facts, isHead);
      case 'referrers':
        return this.#referrers(asked, response, facts, isHead);
      case 'catalog':
        return this.#catalog(asked, response, facts, isHead);
    }
  }

  async #manifest(
    { repository, reference, ns }: Of<'manifest'>,
    request: IncomingMessage,
    response: ServerResponse,
    facts: Facts,
    isHead: boolean,
  ): Promise<void> {
    facts.reference = referenceText(reference);
    const hot = this.#mirror.findHotManifest(repository, reference);
    const answer: ManifestAnswer =
      hot ??
      (await withDeadline(
        isHead
          ? this.#mirror.describe(repository, reference)
          : this.#mirror.manifest(repository, reference),
        repository,
        'UPSTREAM_UNAVAILABLE',
      ));
    const { descriptor, outcome, warning, ageSeconds, bytes } = answer;
    facts.outcome = outcome;
    const headers = contentHeaders(
      commonHeaders(ns),
      descriptor.digest,
      descriptor.mediaType,
      outcome,
    );
    if (warning !== undefined) addWarning(headers, warning, ageSeconds);
    if (isHead || bytes === undefined) {
      const { digest, size: sizeBytes } = descriptor;
      sendDescription(request, response, headers, { digest, sizeBytes });
      return;
    }
    if (request.headers.range === undefined && request.headers['if-none-match'] === undefined) {
      headers.push('Content-Length', bytes.length);
      response.writeHead(200, headers);
      response.end(bytes);
      facts.sentBytes = bytes.length;
      return;
    }
    const content = {
      digest: descriptor.digest,
      mediaType: descriptor.mediaType,
      sizeBytes: bytes.length,
      isArriving: false,
      read: (range: ByteRange) => bytesReader(bytes, range),
    };
    const sent = await sendContent(request, response, headers, content, this.#bodies);
    facts.sentBytes = sent.sentBytes;
  }

  async #blob(
    { repository, digest, ns }: Of<'blob'>,
    request: IncomingMessage,
    response: ServerResponse,
    facts: Facts,
  ): Promise<void> {
    facts.reference = digest;
    const finding = this.#mirror.blob(repository, digest);
    const { content, outcome } = await withDeadline(
      finding,
      repository,
      'BLOB_UNAVAILABLE',
      (late) => late.content.close(),
    );
    facts.outcome = outcome;
    try {
      const headers = contentHeaders(commonHeaders(ns), digest, blobMediaType, outcome);
      this.#sending.add(facts);
      const sendable = {
        digest,
        mediaType: blobMediaType,
        sizeBytes: content.sizeBytes,
        isArriving: outcome !== 'HIT',
        read: (range: ByteRange) => content.read(range),
        sent: (bytes: number) => {
          facts.sentBytes += bytes;
        },
      };
      const sent = await sendContent(request, response, headers, sendable, this.#bodies);
      facts.sentBytes = sent.sentBytes;
      facts.aborted = !sent.isWhole && sent.error === undefined;
      if (sent.error !== undefined) throw sent.error;
    } finally {
      content.close();
    }
  }

  async #describeBlob(
    { repository, digest, ns }: Of<'blob'>,
    request: IncomingMessage,
    response: ServerResponse,
    facts: Facts,
  ): Promise<void> {
    facts.reference = digest;
    const describing = this.#mirror.describeBlob(repository, digest);
    const { sizeBytes, outcome } = await withDeadline(describing, repository, 'BLOB_UNAVAILABLE');
    facts.outcome = outcome;
    const headers = contentHeaders(commonHeaders(ns), digest, blobMediaType, outcome);
    sendDescription(request, response, headers, { digest, sizeBytes });
  }

  async #tags(
    { repository, page, ns, path }: Of<'tags'>,
    response: ServerResponse,
    facts: Facts,
    isHead: boolean,
  ): Promise<void> {
    const listing = this.#mirror.tags(repository);
    const answer = await withDeadline(listing, repository, 'UPSTREAM_UNAVAILABLE');
    const { items } = answer;
    facts.outcome = answer.outcome;
    const headers = listHeaders(ns, answer);
    const { items: tags, next } = pageOfList(items, page);
    if (next !== undefined) headers.push('Link', nextLink(path, page, next, ns));
    const body = { name: repository.name, tags };
    facts.sentBytes = sendJson(response, headers, 'application/json', body, isHead);
  }

  async #referrers(
    { repository, digest, artifactTypes, ns }: Of<'referrers'>,
    response: ServerResponse,
    facts: Facts,
    isHead: boolean,
  ): Promise<void> {
    facts.reference = digest;
    const listing = this.#mirror.referrers(repository, digest);
    const answer = await withDeadline(listing, repository, 'UPSTREAM_UNAVAILABLE');
    const { items } = answer;
    facts.outcome = answer.outcome;
    const headers = listHeaders(ns, answer);
    let manifests = items;
    if (artifactTypes.length > 0) {
      manifests = items.filter((item) => {
        const { artifactType } = (item ?? {}) as { artifactType?: string };
        return artifactType !== undefined && artifactTypes.includes(artifactType);
      });
      headers.push('OCI-Filters-Applied', 'artifactType');
    }
    const body = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
    facts.sentBytes = sendJson(response, headers, mediaTypes.ociIndex, body, isHead);
  }

  /** What is cached, under the names by which it can be pulled from here. */
  async #catalog(
    { registry, page, ns, prefix }: Of<'catalog'>,
    response: ServerResponse,
    facts: Facts,
    isHead: boolean,
  ): Promise<void> {
    const { items, next } = await catalogPage(this.#mirror.catalog(), registry, page);
    const headers = commonHeaders(ns);
    if (next !== undefined) headers.push('Link', nextLink(`${prefix}/v2/_catalog`, page, next, ns));
    facts.sentBytes = sendJson(
      response,
      headers,
      'application/json',
      { repositories: items },
      isHead,
    );
  }
}

function listHeaders(ns: string | undefined, answer: ListAnswer<unknown>): HeaderList {
  const headers = commonHeaders(ns);
  headers.push('X-Cache', answer.outcome);
  if (answer.warning !== undefined) addWarning(headers, answer.warning, answer.ageSeconds);
  return headers;
}

function refuseWrites(request: IncomingMessage): void {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    throw new MirrorError(
      'METHOD_UNSUPPORTED',
      `${request.method} is not supported: a mirror is read-only`,
    );
  }
  const length = request.headers['content-length'];
  if (
    request.headers['transfer-encoding'] !== undefined ||
    (length !== undefined && length !== '0')
  ) {
    throw new MirrorError('REQUEST_INVALID', `a ${request.method} request must not have a body`);
  }
}

/** The answer, or an honest error while the client still listens. What comes too late is disposed of. */
async function withDeadline<T>(
  answer: Promise<T>,
  repository: Repository,
  code: 'UPSTREAM_UNAVAILABLE' | 'BLOB_UNAVAILABLE',
  dispose: (late: T) => void = () => {},
): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const seconds = headersDeadlineMs / 1000;
    reject(
      new MirrorError(code, `upstream ${repository.registry} did not answer within ${seconds} s`),
    );
    answer.then(dispose, () => {});
  }, headersDeadlineMs);
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

import type { ByteRange } from '../base/intervals.ts';
import { isOfNothing, type Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError, type ErrorCode } from '../oci/errors.ts';
import { manifestAccept, manifestSizeBytesMax, mediaTypes } from '../oci/manifest.ts';
import { referenceText, type Reference } from '../oci/reference.ts';
import { askAndRead } from './ask-and-read.ts';
import { parseContentRange } from './content-range.ts';
import type { LimitPause } from './cooldown.ts';
import { readPages } from './pages.ts';
import type { Quota } from './quota.ts';
import {
  claimedDigest,
  claimedLength,
  claimedType,
  findForeignEncoding,
  headerText,
  isHeadRefused,
  isWebPage,
  lacksReferrers,
  tagsOf,
} from './quirks.ts';
import { discard, readAtMost } from './read-body.ts';
import { refusalOf } from './refusal.ts';
import type { EndpointAnswer } from './endpoints.ts';
import type { Answer, Ask } from './exchange.ts';
import type { Transport } from './transport.ts';
import type {
  Arrived,
  BlobBody,
  FetchedManifest,
  Listed,
  Resolved,
  Upstream,
  Wait,
} from './upstream.ts';

/** So many tags a page are asked for: fewer round trips, and no more than registries let themselves be asked. */
const tagsPerPage = 1_000;

/** More than any real repository has; a tag has at most 128 bytes: 25 MiB. */
const tagsMax = 200_000;

/** More repositories than the largest registries tell of; the rest is left out. */
const repositoriesMax = 200_000;

/** All pages together: some 10,000 descriptors. */
const referrersBytesMax = 4 * 1024 * 1024;

/** One page; some registries answer all tags in one, in some MiB. */
const pageBytesMax = 8 * 1024 * 1024;

/** A registry's error is some hundred bytes. */
const errorBytesMax = 64 * 1024;

/** The pull side of the distribution-spec, spoken to one upstream over its transport. */
export class RegistryClient implements Upstream {
  readonly registry: string;
  readonly #transport: Transport;

  constructor(registry: string, transport: Transport) {
    this.registry = registry;
    this.#transport = transport;
  }

  get isDown(): boolean {
    return this.#transport.isDown;
  }

  get quotas(): readonly Quota[] {
    return this.#transport.quotas;
  }

  get pauses(): readonly LimitPause[] {
    return this.#transport.pauses;
  }

  async fetchManifest(name: string, reference: Reference, wait: Wait): Promise<FetchedManifest> {
    const path = `manifests/${referenceText(reference)}`;
    const headers = { accept: manifestAccept };
    return askAndRead(
      () => this.#ask('GET', path, name, 'manifest', wait, headers),
      async (answer) => {
        const what = `manifest ${name}:${referenceText(reference)}`;
        if (answer.status !== 200) throw await this.#refusalOf(answer, 'MANIFEST_UNKNOWN', what);
        this.#refuseUnusable(answer, 'a manifest');
        return {
          bytes: await readAtMost(answer.body, manifestSizeBytesMax, 'a manifest'),
          contentType: answer.headers['content-type'],
          digest: claimedDigest(answer.headers),
          distrust: answer.distrust,
        };
      },
    );
  }

  async resolve(name: string, reference: Reference, wait: Wait): Promise<Resolved> {
    const answer = await this.#ask(
      'HEAD',
      `manifests/${referenceText(reference)}`,
      name,
      'manifest',
      wait,
      {
        accept: manifestAccept,
      },
    );
    discard(answer.body);
    const isPage = answer.status === 200 && isWebPage(answer.headers);
    if (isHeadRefused(answer.status) || isPage) return unknownManifest;
    this.#refuseUnless(
      answer,
      [200],
      'MANIFEST_UNKNOWN',
      `manifest ${name}:${referenceText(reference)}`,
    );
    return {
      digest: claimedDigest(answer.headers),
      mediaType: claimedType(answer.headers),
      sizeBytes: claimedLength(answer.headers),
    };
  }

  async fetchBlob(
    name: string,
    digest: Digest,
    part: ByteRange | undefined,
    wait: Wait,
  ): Promise<BlobBody> {
    const headers: Record<string, string> =
      part === undefined
        ? {}
        : { range: `bytes=${part.start}-${part.end === Infinity ? '' : part.end - 1}` };
    return askAndRead(
      () => this.#ask('GET', `blobs/${digest}`, name, 'blob', wait, headers),
      (answer) => this.#blobIn(answer, `blob ${digest} of ${name}`, part?.start ?? 0),
    );
  }

  /** @param start where it was asked for from */
  async #blobIn(answer: EndpointAnswer, what: string, start: number): Promise<BlobBody> {
    if (answer.status !== 200 && answer.status !== 206) {
      throw await this.#refusalOf(answer, 'BLOB_UNKNOWN', what);
    }
    this.#refuseUnusable(answer, 'a blob');
    const acceptsRanges =
      headerText(answer.headers, 'accept-ranges') === 'bytes' || answer.status === 206;
    if (answer.status === 200) {
      return {
        start: 0,
        sizeBytes: claimedLength(answer.headers),
        acceptsRanges,
        isOpenEnded: true,
        body: answer.body,
        distrust: answer.distrust,
      };
    }
    const range = parseContentRange(headerText(answer.headers, 'content-range'));
    // Some answer 206 to all; what begins at byte 0 is what a plain GET asks for.
    if (range === undefined || range.start !== start) {
      throw this.#broken(answer, 'it sent another part of a blob than it was asked for');
    }
    return {
      start: range.start,
      sizeBytes: range.sizeBytes,
      acceptsRanges,
      isOpenEnded: range.end === range.sizeBytes,
      body: answer.body,
      distrust: answer.distrust,
    };
  }

  async describeBlob(
    name: string,
    digest: Digest,
    wait: Wait,
  ): Promise<{ sizeBytes: number | undefined }> {
    const answer = await this.#ask('HEAD', `blobs/${digest}`, name, 'blob', wait, {});
    discard(answer.body);
    const { status } = answer;
    const isDescribed = status === 200 && !isWebPage(answer.headers);
    const sizeBytes = isDescribed ? claimedLength(answer.headers) : undefined;
    const isEmpty = isOfNothing(digest);
    // Some say 0 of whatever is asked.
    if (sizeBytes !== undefined && (sizeBytes > 0 || isEmpty)) return { sizeBytes };
    // What a CDN says to a HEAD tells nothing of a GET: only the registry knows what it has.
    if (status === 404 && this.#transport.isOwn(answer.url)) {
      this.#refuseUnless(answer, [], 'BLOB_UNKNOWN', `blob ${digest} of ${name}`);
    }
    // Of nothing there is no first byte.
    const probe = await this.fetchBlob(name, digest, isEmpty ? undefined : firstByte, wait);
    probe.body.destroy();
    return { sizeBytes: probe.sizeBytes };
  }

  async listTags(name: string, wait: Wait, arrived?: Arrived): Promise<Listed<string>> {
    const tags = new Set<string>();
    const bare: Ask = {
      method: 'GET',
      path: `/v2/${name}/tags/list`,
      name,
      what: 'tags',
      headers: { accept: 'application/json' },
    };
    const first = { ...bare, path: `${bare.path}?n=${tagsPerPage}` };
    const missing = await readPages({
      first,
      send: async (ask) => {
        const answer = await this.#transport.ask(ask, wait);
        if (ask !== first || answer.status !== 400) return answer;
        // It takes no page of that size: distribution with a smaller `tags.maxtags`.
        discard(answer.body);
        return this.#transport.ask(bare, wait);
      },
      isOwn: (url) => this.#transport.isOwn(url),
      take: async (answer) => {
        this.#refuseUnless(answer, [200], 'NAME_UNKNOWN', `repository ${name}`);
        const found = tagsOf(await this.#readJson(answer, 'a list of tags'));
        for (const tag of found) tags.add(tag);
        arrived?.(found);
        return tags.size > tagsMax ? { missing: `it has more than ${tagsMax} tags` } : found.length;
      },
      // An outage may be over at the next try; half a list would not say so.
      endsAt: (error) => isMirrorError(error, 'NAME_UNKNOWN', 'DENIED', 'UPSTREAM_INVALID'),
    });
    return { items: [...tags], missing };
  }

  /** The names of all repositories, where the registry tells: many do not. @throws MirrorError */
  async catalog(wait: Wait): Promise<Listed<string>> {
    const names = new Set<string>();
    const missing = await readPages({
      first: { method: 'GET', path: '/v2/_catalog', name: '', what: 'tags', headers: {} },
      send: (ask) => this.#transport.ask(ask, wait),
      isOwn: (url) => this.#transport.isOwn(url),
      take: async (answer) => {
        this.#refuseUnless(answer, [200], 'NAME_UNKNOWN', 'the catalog');
        const { repositories } = (await this.#readJson(answer, 'a catalog')) as {
          repositories?: unknown;
        };
        const found: unknown[] = Array.isArray(repositories) ? repositories : [];
        for (const name of found) if (typeof name === 'string') names.add(name);
        if (names.size <= repositoriesMax) return found.length;
        return { missing: `it has more than ${repositoriesMax} repositories` };
      },
      endsAt: (error) => isMirrorError(error, 'NAME_UNKNOWN', 'DENIED', 'UPSTREAM_INVALID'),
    });
    return { items: [...names], missing };
  }

  async referrers(name: string, digest: Digest, wait: Wait): Promise<Listed<unknown> | undefined> {
    let found: Map<unknown, unknown> | undefined;
    let leftBytes = referrersBytesMax;
    const path = `/v2/${name}/referrers/${digest}`;
    const headers = { accept: mediaTypes.ociIndex };
    const missing = await readPages({
      first: { method: 'GET', path, name, what: 'referrers', headers },
      send: (ask) => this.#transport.ask(ask, wait),
      isOwn: (url) => this.#transport.isOwn(url),
      take: async (answer) => {
        const index = await readIndex(answer, leftBytes);
        if (index === undefined) {
          // ghcr.io redirects to a site that knows nothing of it; what that refuses is no refusal.
          const isElsewhere = !this.#transport.isOwn(answer.url);
          const isNone = isElsewhere || lacksReferrers(answer.status);
          if (found === undefined && isNone) return { missing: 'there is no such API' };
          if (answer.status === 200)
            throw this.#broken(answer, 'its list of referrers is no index');
          this.#refuseUnless(answer, [], 'MANIFEST_UNKNOWN', `referrers of ${digest} in ${name}`);
        }
        const { manifests = [], sizeBytes = 0 } = index ?? {};
        leftBytes -= sizeBytes;
        found ??= new Map();
        for (const entry of manifests) found.set(digestIn(entry) ?? entry, entry);
        return manifests.length;
      },
      endsAt: (error) => !isMirrorError(error, 'CANCELLED'),
    });
    return found === undefined ? undefined : { items: [...found.values()], missing };
  }

  #ask(
    method: Ask['method'],
    rest: string,
    name: string,
    what: Ask['what'],
    wait: Wait,
    headers: Readonly<Record<string, string>>,
  ): Promise<EndpointAnswer> {
    return this.#transport.ask({ method, path: `/v2/${name}/${rest}`, name, what, headers }, wait);
  }

  async #readJson(answer: Answer, what: string): Promise<unknown> {
    const bytes = await readAtMost(answer.body, pageBytesMax, what);
    try {
      return JSON.parse(bytes.toString('utf8')) as unknown;
    } catch (cause) {
      throw new MirrorError(
        'UPSTREAM_INVALID',
        `upstream ${this.registry} sent ${what} that is not JSON`,
        {
          cause,
        },
      );
    }
  }

  #refuseUnless(answer: Answer, allowed: number[], unknown: ErrorCode, what: string): void {
    if (allowed.includes(answer.status)) return;
    discard(answer.body);
    throw refusalOf({ registry: this.registry, what, unknown }, { ...answer, body: undefined });
  }

  /** Of an answer to a GET, whose body tells a registry's own «does not exist» from another's. */
  async #refusalOf(answer: Answer, unknown: ErrorCode, what: string): Promise<MirrorError> {
    const asked = { registry: this.registry, what, unknown };
    const isTold = [401, 404].includes(answer.status) && !isWebPage(answer.headers);
    if (!isTold) {
      discard(answer.body);
      return refusalOf(asked, { ...answer, body: undefined });
    }
    // What cannot be read to its end is no registry's error.
    const body = await readAtMost(answer.body, errorBytesMax, 'an error').catch(() => Buffer.of());
    return refusalOf(asked, { ...answer, body });
  }

  /** What is no content, or in a form that nobody asked for. */
  #refuseUnusable(answer: Answer, what: string): void {
    this.#refuseWebPage(answer, what);
    const encoding = findForeignEncoding(answer.headers);
    if (encoding === undefined) return;
    throw this.#broken(answer, `it sent ${what} with Content-Encoding ${encoding}`);
  }

  #refuseWebPage(answer: Answer, what: string): void {
    if (!isWebPage(answer.headers)) return;
    throw this.#broken(
      answer,
      `it sent a web page instead of ${what} (a login page or a proxy in between?)`,
    );
  }

  #broken(answer: Answer, what: string): MirrorError {
    discard(answer.body);
    return new MirrorError('UPSTREAM_INVALID', `upstream ${this.registry} cannot be used: ${what}`);
  }
}

/** The entries of an index; undefined when the answer is none. @throws MirrorError above the limit */
async function readIndex(
  { status, headers, body }: Answer,
  limitBytes: number,
): Promise<{ manifests: unknown[]; sizeBytes: number } | undefined> {
  if (status !== 200 || claimedType(headers)?.toLowerCase() !== mediaTypes.ociIndex) {
    discard(body);
    return undefined;
  }
  const bytes = await readAtMost(body, limitBytes, 'a list of referrers');
  try {
    const { manifests } = JSON.parse(bytes.toString('utf8')) as { manifests?: unknown };
    if (!Array.isArray(manifests)) return undefined;
    return { manifests: manifests as unknown[], sizeBytes: bytes.length };
  } catch {
    return undefined;
  }
}

function digestIn(entry: unknown): unknown {
  return (entry as { digest?: unknown } | null)?.digest;
}

const firstByte: ByteRange = { start: 0, end: 1 };

const unknownManifest: Resolved = { digest: undefined, mediaType: undefined, sizeBytes: undefined };

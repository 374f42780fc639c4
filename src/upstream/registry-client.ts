import type { ByteRange } from '../base/intervals.ts';
import { findDigest, type Digest } from '../oci/digest.ts';
import { MirrorError, type ErrorCode } from '../oci/errors.ts';
import { manifestAccept, manifestSizeBytesMax, mediaTypes } from '../oci/manifest.ts';
import { isTag, referenceText, type Reference } from '../oci/reference.ts';
import { parseContentRange } from './content-range.ts';
import { nextPage } from './link.ts';
import type { Quota } from './quota.ts';
import { readAtMost } from './read-body.ts';
import { discard, type Answer, type Ask, type Transport } from './transport.ts';
import type { BlobBody, FetchedManifest, Resolved, Upstream, Wait } from './upstream.ts';

/** quay pages tags by 100 at most: 1,000 pages are 100,000 tags, beyond any real repository. */
const pagesMax = 1_000;

/** One page; some registries answer all tags in one, in some MiB. */
const pageBytesMax = 8 * 1024 * 1024;

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

  async fetchManifest(name: string, reference: Reference, wait: Wait): Promise<FetchedManifest> {
    const answer = await this.#ask(
      'GET',
      `manifests/${referenceText(reference)}`,
      name,
      'manifest',
      wait,
      {
        accept: manifestAccept,
      },
    );
    this.#refuseUnless(
      answer,
      [200],
      'MANIFEST_UNKNOWN',
      `manifest ${name}:${referenceText(reference)}`,
    );
    const bytes = await readAtMost(answer.body, manifestSizeBytesMax, 'a manifest');
    return {
      bytes,
      contentType: answer.headers['content-type'],
      digest: findDigest(headerText(answer, 'docker-content-digest')),
    };
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
    // GitLab answers 403 to a redirected HEAD, others do not know the method: a GET then decides.
    if ([401, 403, 405, 501].includes(answer.status)) return unknownManifest;
    this.#refuseUnless(
      answer,
      [200],
      'MANIFEST_UNKNOWN',
      `manifest ${name}:${referenceText(reference)}`,
    );
    return {
      digest: findDigest(headerText(answer, 'docker-content-digest')),
      mediaType: answer.headers['content-type']?.split(';', 1)[0]?.trim(),
      sizeBytes: contentLength(answer),
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
    const answer = await this.#ask('GET', `blobs/${digest}`, name, 'blob', wait, headers);
    this.#refuseUnless(answer, [200, 206], 'BLOB_UNKNOWN', `blob ${digest} of ${name}`);
    const encoding = answer.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      throw this.#broken(answer, `it sent a blob with Content-Encoding ${encoding}`);
    }
    if (answer.headers['content-type']?.startsWith('text/html') === true) {
      throw this.#broken(
        answer,
        'it sent a web page instead of a blob (a login page or a proxy in between?)',
      );
    }
    const acceptsRanges = headerText(answer, 'accept-ranges') === 'bytes' || answer.status === 206;
    if (answer.status === 200) {
      return {
        start: 0,
        sizeBytes: contentLength(answer),
        acceptsRanges,
        isOpenEnded: true,
        body: answer.body,
      };
    }
    const range = parseContentRange(headerText(answer, 'content-range'));
    if (range === undefined || part === undefined || range.start !== part.start) {
      throw this.#broken(answer, 'it sent another part of a blob than it was asked for');
    }
    return {
      start: range.start,
      sizeBytes: range.sizeBytes,
      acceptsRanges,
      isOpenEnded: range.end === range.sizeBytes,
      body: answer.body,
    };
  }

  async describeBlob(
    name: string,
    digest: Digest,
    wait: Wait,
  ): Promise<{ sizeBytes: number | undefined }> {
    const answer = await this.#ask('HEAD', `blobs/${digest}`, name, 'blob', wait, {});
    discard(answer.body);
    if (answer.status === 200) return { sizeBytes: contentLength(answer) };
    this.#refuseUnless(
      answer,
      [400, 401, 403, 405, 501],
      'BLOB_UNKNOWN',
      `blob ${digest} of ${name}`,
    );
    // ECR Public answers 401 to the HEAD of what it gives to a GET, and presigned URLs are for GET only.
    const probe = await this.fetchBlob(name, digest, { start: 0, end: 1 }, wait);
    probe.body.destroy();
    return { sizeBytes: probe.sizeBytes };
  }

  async listTags(name: string, wait: Wait): Promise<string[]> {
    const tags: string[] = [];
    const headers = { accept: 'application/json' };
    let path: string | undefined = 'tags/list';
    for (let page = 0; path !== undefined && page < pagesMax; page += 1) {
      const answer: Answer = await this.#ask('GET', path, name, 'tags', wait, headers);
      this.#refuseUnless(answer, [200], 'NAME_UNKNOWN', `repository ${name}`);
      const document = await this.#readJson(answer, 'a list of tags');
      const { tags: list } = (document ?? {}) as { tags?: unknown };
      // An empty repository is `null` at some registries.
      for (const tag of Array.isArray(list) ? list : []) {
        if (typeof tag === 'string' && isTag(tag)) tags.push(tag);
      }
      path = nextPage(answer, name, 'tags/list');
    }
    return tags;
  }

  async referrers(name: string, digest: Digest, wait: Wait): Promise<unknown[] | undefined> {
    const found: unknown[] = [];
    const headers = { accept: mediaTypes.ociIndex };
    let path: string | undefined = `referrers/${digest}`;
    for (let page = 0; path !== undefined && page < pagesMax; page += 1) {
      const answer: Answer = await this.#ask('GET', path, name, 'referrers', wait, headers);
      const type = answer.headers['content-type']?.split(';', 1)[0]?.trim();
      if (answer.status !== 200 || type !== mediaTypes.ociIndex) {
        discard(answer.body);
        // 404, 405, 501 and quay's 400: no such API here. Others say so with a page of HTML.
        if (page === 0 && answer.status !== 403 && answer.status !== 401) return undefined;
        this.#refuseUnless(answer, [], 'MANIFEST_UNKNOWN', `referrers of ${digest} in ${name}`);
      }
      const document = await this.#readJson(answer, 'a list of referrers');
      const { manifests } = (document ?? {}) as { manifests?: unknown };
      if (!Array.isArray(manifests)) return page === 0 ? undefined : found;
      found.push(...(manifests as unknown[]));
      path = nextPage(answer, name, `referrers/${digest}`);
    }
    return found;
  }

  #ask(
    method: Ask['method'],
    rest: string,
    name: string,
    what: Ask['what'],
    wait: Wait,
    headers: Readonly<Record<string, string>>,
  ): Promise<Answer> {
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
    const { status } = answer;
    if (allowed.includes(status)) return;
    discard(answer.body);
    if (status === 404)
      throw new MirrorError(unknown, `${what} does not exist at ${this.registry}`);
    if (status === 401 || status === 403) {
      throw new MirrorError(
        'DENIED',
        `upstream ${this.registry} denies ${what} (${status}); check the credentials of that upstream`,
      );
    }
    throw new MirrorError(
      'UPSTREAM_INVALID',
      `upstream ${this.registry} answered ${status} for ${what}`,
    );
  }

  #broken(answer: Answer, what: string): MirrorError {
    discard(answer.body);
    return new MirrorError('UPSTREAM_INVALID', `upstream ${this.registry} cannot be used: ${what}`);
  }
}

const unknownManifest: Resolved = { digest: undefined, mediaType: undefined, sizeBytes: undefined };

function headerText(answer: Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function contentLength(answer: Answer): number | undefined {
  const text = answer.headers['content-length'];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

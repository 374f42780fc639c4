import type { Readable } from 'node:stream';
import type { ByteRange } from '../../base/intervals.ts';
import { findDigest, type Digest } from '../../oci/digest.ts';
import { MirrorError } from '../../oci/errors.ts';
import { manifestAccept } from '../../oci/manifest.ts';
import type { Answer, Ask } from '../exchange.ts';
import { discard } from '../read-body.ts';
import type { Transport } from '../transport.ts';
import type { Wait } from '../upstream.ts';

/** Larger blobs go in parts of this size, so that one that breaks off goes on where it was. */
const partBytes = 32 * 1024 * 1024;

/** Times that an upload may break off and go on. */
const resumesMax = 5;

/** Some bytes of a blob, from the store; called once for every time that they are sent. */
export type OpenPart = (part: ByteRange) => Readable;

/**
 * A registry that is pushed to. Source: distribution-spec v1.1, «Push». Every method may throw
 * MirrorError as `Upstream` does, and UPSTREAM_INVALID when the registry does not take what it is sent.
 */
export class PushTarget {
  readonly #registry: string;
  readonly #transport: Transport;

  constructor(registry: string, transport: Transport) {
    this.#registry = registry;
    this.#transport = transport;
  }

  async hasBlob(name: string, digest: Digest, wait: Wait): Promise<boolean> {
    const answer = await this.#ask(name, 'HEAD', `blobs/${digest}`, wait);
    return this.#isThere(answer, `blob ${digest} of ${name}`);
  }

  /** What a tag or a digest names there; undefined when it is not there. */
  async resolve(name: string, reference: string, wait: Wait): Promise<Digest | undefined> {
    const headers = { accept: manifestAccept };
    const answer = await this.#ask(name, 'HEAD', `manifests/${reference}`, wait, { headers });
    if (!this.#isThere(answer, `manifest ${name}:${reference}`)) return undefined;
    return findDigest(String(answer.headers['docker-content-digest'] ?? ''));
  }

  /** Has a blob of another repository there shown under this one; false when it cannot be. */
  async mount(name: string, digest: Digest, from: string, wait: Wait): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from });
    const answer = await this.#ask(name, 'POST', `blobs/uploads/?${query.toString()}`, wait);
    discard(answer.body);
    if (answer.status === 201) return true;
    // It has begun an upload instead, which nobody will use.
    if (answer.status === 202) await this.#cancel(name, this.#locationOf(answer), wait);
    return false;
  }

  /** Sends a blob, in one piece or in parts. */
  async upload(
    name: string,
    { digest, sizeBytes }: { readonly digest: Digest; readonly sizeBytes: number },
    open: OpenPart,
    wait: Wait,
  ): Promise<void> {
    let location = await this.#begin(name, wait);
    if (sizeBytes > partBytes) {
      location = await this.#sendParts(name, sizeBytes, location, open, wait);
      location.searchParams.set('digest', digest);
      const done = await this.#ask(name, 'PUT', '', wait, { url: location, ...nothing });
      this.#need(done, [201], `blob ${digest}`);
      return;
    }
    location.searchParams.set('digest', digest);
    const answer = await this.#ask(name, 'PUT', '', wait, {
      url: location,
      headers: contentHeaders(sizeBytes),
      content: () => open({ start: 0, end: sizeBytes }),
    });
    this.#need(answer, [201], `blob ${digest}`);
  }

  async putManifest(
    name: string,
    reference: string,
    { bytes, mediaType }: { readonly bytes: Buffer; readonly mediaType: string },
    wait: Wait,
  ): Promise<void> {
    const answer = await this.#ask(name, 'PUT', `manifests/${reference}`, wait, {
      headers: { 'content-type': mediaType, 'content-length': String(bytes.length) },
      content: () => bytes,
    });
    this.#need(answer, [201], `manifest ${name}:${reference}`);
  }

  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #begin(name: string, wait: Wait): Promise<URL> {
    const answer = await this.#ask(name, 'POST', 'blobs/uploads/', wait, nothing);
    this.#need(answer, [202], `an upload to ${name}`);
    return this.#locationOf(answer);
  }

  /** @returns where the upload is finished */
  async #sendParts(
    name: string,
    sizeBytes: number,
    begun: URL,
    open: OpenPart,
    wait: Wait,
  ): Promise<URL> {
    let location = begun;
    let resumes = 0;
    for (let start = 0; start < sizeBytes;) {
      const end = Math.min(start + partBytes, sizeBytes);
      const part = { start, end };
      try {
        const answer = await this.#ask(name, 'PATCH', '', wait, {
          url: location,
          headers: { ...contentHeaders(end - start), 'content-range': `${start}-${end - 1}` },
          content: () => open(part),
        });
        this.#need(answer, [201, 202, 204], `a part of a blob of ${name}`);
        location = this.#locationOf(answer, location);
        start = end;
      } catch (error) {
        wait.signal?.throwIfAborted();
        resumes += 1;
        if (resumes > resumesMax) throw error;
        const status = await this.#statusOf(name, location, wait);
        // Less than before: the registry lost it, and what is sent twice would be wrong.
        if (status === undefined || status.receivedBytes < start) throw error;
        ({ location, receivedBytes: start } = status);
      }
    }
    return location;
  }

  /** How far an upload is, which broke off; undefined when the registry no longer knows it. */
  async #statusOf(
    name: string,
    location: URL,
    wait: Wait,
  ): Promise<{ location: URL; receivedBytes: number } | undefined> {
    const answer = await this.#ask(name, 'GET', '', wait, { url: location });
    discard(answer.body);
    const range = /^(?:bytes=)?0-(\d+)$/.exec(answer.headers.range ?? '');
    if (answer.status !== 204 || range === null) return undefined;
    return { location: this.#locationOf(answer, location), receivedBytes: Number(range[1]) + 1 };
  }

  async #cancel(name: string, url: URL, wait: Wait): Promise<void> {
    const answer = await this.#ask(name, 'DELETE', '', wait, { url });
    discard(answer.body);
  }

  #ask(
    name: string,
    method: Ask['method'],
    below: string,
    wait: Wait,
    more: Partial<Ask> = {},
  ): Promise<Answer> {
    const what = below.startsWith('manifests/') ? 'manifest' : 'blob';
    const path = `/v2/${name}/${below}`;
    const ask: Ask = { method, path, name, what, headers: {}, access: 'pull,push', ...more };
    return this.#transport.ask(ask, wait);
  }

  #isThere(answer: Answer, what: string): boolean {
    if (answer.status !== 404) this.#need(answer, [200], what);
    else discard(answer.body);
    return answer.status === 200;
  }

  #need({ status, body }: Answer, wanted: readonly number[], what: string): void {
    discard(body);
    if (wanted.includes(status)) return;
    if (status === 401 || status === 403) {
      throw new MirrorError(
        'DENIED',
        `${this.#registry} does not let us push ${what} (${status}); check username and password`,
      );
    }
    throw new MirrorError('UPSTREAM_INVALID', `${this.#registry} answered ${status} to ${what}`);
  }

  #locationOf({ headers, url }: Answer, otherwise?: URL): URL {
    const { location } = headers;
    if (location !== undefined && URL.canParse(location, url)) return new URL(location, url);
    if (otherwise !== undefined) return otherwise;
    throw new MirrorError(
      'UPSTREAM_INVALID',
      `${this.#registry} does not say where an upload goes`,
    );
  }
}

const nothing = { headers: { 'content-length': '0' }, content: () => new Uint8Array() };

function contentHeaders(sizeBytes: number): Record<string, string> {
  return { 'content-type': 'application/octet-stream', 'content-length': String(sizeBytes) };
}

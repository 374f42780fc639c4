import type { IncomingHttpHeaders } from 'node:http';
import { findDigest, type Digest } from '../oci/digest.ts';
import { isTag } from '../oci/reference.ts';

/**
 * Where real registries leave the specification, and what the mirror makes of it, but for what has a
 * room of its own: schema 1 and media types that a manifest's fields contradict (`oci/manifest.ts`),
 * pages that lead elsewhere (`link.ts`, `pages.ts`), challenges (`challenge.ts`), and a whole body in answer to a
 * range, which a fill takes from its position on (`mirror/lane.ts`). HEAD of a blob is refused at so many
 * places where GET works (401 at ECR Public, distribution#4383; 400, 403, 404, 405, 411 where addresses are
 * signed for GET, or a CDN knows nothing else) that a GET of the first byte decides (`registry-client.ts`).
 */

/**
 * HEAD of a manifest is refused where GET works: GitLab redirects it to an address that was signed for
 * GET (403, moby#50065), others ask for another login (401) or do not know the method (405, 501). A GET
 * decides then. Not 404 and not 429: the GET would only count as a pull at Docker Hub.
 */
const manifestHeadRefusals: ReadonlySet<number> = new Set([401, 403, 405, 501]);

export function isHeadRefused(status: number): boolean {
  return manifestHeadRefusals.has(status);
}

/**
 * A page for people with status 200, in place of content: a login page, a captive portal, a proxy
 * (harbor#23882). It is never a manifest or a blob.
 */
export function isWebPage(headers: IncomingHttpHeaders): boolean {
  return /^(?:text\/html|application\/xhtml\+xml)\b/i.test(headers['content-type'] ?? '');
}

/**
 * Labels that storage behind a registry gives to bytes that are the blob's own: `x-gzip` to layers that
 * *are* gzip (moby#17595), `aws-chunked` to what was once uploaded in parts (S3 and what speaks like it).
 * Any other encoding would change them, and was not asked for. The digest is checked in any case.
 */
const harmlessEncodings: ReadonlySet<string> = new Set(['identity', 'x-gzip', 'aws-chunked']);

/**
 * The content codings that make a body something else than the blob; undefined when there are none. A
 * list, in which case does not matter and entries may be empty: RFC 9110, 5.6.1 and 8.4.
 */
export function findForeignEncoding(headers: IncomingHttpHeaders): string | undefined {
  const codings = (headers['content-encoding'] ?? '').split(',').map((text) => text.trim());
  const foreign = codings.filter(
    (text) => !harmlessEncodings.has(text.toLowerCase()) && text !== '',
  );
  return foreign.length === 0 ? undefined : foreign.join(', ');
}

/**
 * ECR and registry.access.redhat.com leave `Docker-Content-Digest` out of some answers; others send one
 * of an algorithm that nobody verifies. Undefined then: the body is hashed.
 */
export function claimedDigest(headers: IncomingHttpHeaders): Digest | undefined {
  return findDigest(headerText(headers, 'docker-content-digest'));
}

/**
 * Manifests and tokens come chunked, without `Content-Length`; a HEAD comes with none, or with 0.
 * Undefined when it is missing or no number, or the length of something else: of an encoded body.
 */
export function claimedLength(headers: IncomingHttpHeaders): number | undefined {
  if (findForeignEncoding(headers) !== undefined) return undefined;
  const text = headers['content-length'];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** `application/json; charset=utf-8` and the like: the type without its parameters. */
export function claimedType(headers: IncomingHttpHeaders): string | undefined {
  return headers['content-type']?.split(';', 1)[0]?.trim();
}

/**
 * The tags of one page. An empty repository is `null` at some registries, gcr.io adds fields of its
 * own, and what is not a tag by the grammar can be asked for by nobody.
 */
export function tagsOf(document: unknown): string[] {
  const { tags } = (document ?? {}) as { tags?: unknown };
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string' && isTag(tag)) : [];
}

/**
 * Registries without the referrers API answer 404, 405 or 501, quay.io 400 for what nothing refers to,
 * and some a page of HTML with 200. Only a refusal is an answer to the question.
 */
export function lacksReferrers(status: number): boolean {
  return status !== 401 && status !== 403;
}

export function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

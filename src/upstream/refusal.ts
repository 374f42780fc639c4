import type { IncomingHttpHeaders } from 'node:http';
import { MirrorError, type ErrorCode } from '../oci/errors.ts';
import { claimedType, isWebPage } from './quirks.ts';

/** What was asked for, and of whom. */
interface Asked {
  readonly registry: string;
  /** With its repository, for the message. */
  readonly what: string;
  /** Said when it does not exist. */
  readonly unknown: ErrorCode;
}

interface Refusal {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Undefined when it was not read: it was a HEAD, or the headers say enough. */
  readonly body?: Uint8Array | undefined;
}

/** What an answer below 500 means that is not what was asked for. */
export function refusalOf({ registry, what, unknown }: Asked, refusal: Refusal): MirrorError {
  const { status, headers } = refusal;
  if (isErrorPage(refusal)) {
    return new MirrorError(
      'UPSTREAM_UNAVAILABLE',
      `upstream ${registry} answered ${status} with a web page for ${what}: that is no answer of a registry but of something in between (a gateway, a proxy, a firewall)`,
      { detail: { status } },
    );
  }
  if (status === 404) {
    if (isRegistrys(refusal)) {
      return new MirrorError(unknown, `${what} does not exist at ${registry}`);
    }
    return new MirrorError(
      unknown,
      `${what} is not found at ${registry}, which says so in other words than a registry does`,
      { detail: { isCertain: false } },
    );
  }
  const isBare = headers['www-authenticate'] === undefined && !hasSpecError(refusal);
  if (status === 403 || (status === 401 && !isBare)) {
    return new MirrorError(
      'DENIED',
      `upstream ${registry} denies ${what} (${status}); check username and password of that upstream, or set them`,
    );
  }
  const rest = status === 401 ? ' without saying how to log in' : '';
  return new MirrorError(
    'UPSTREAM_INVALID',
    `upstream ${registry} answered ${status} for ${what}${rest}`,
  );
}

/** Whether a «does not exist» is the registry's own, so that it may be remembered and acted on. */
export function isCertain({ detail }: MirrorError): boolean {
  return detail?.['isCertain'] !== false;
}

/** A page for people in place of a refusal: of an ingress that lost its registry, of a firewall. */
export function isErrorPage({ status, headers }: Pick<Refusal, 'status' | 'headers'>): boolean {
  const isRefusal = status === 401 || status === 403 || status === 404;
  return isRefusal && isPage(headers);
}

/** Frameworks label even an empty body as HTML. */
export function isPage(headers: IncomingHttpHeaders): boolean {
  return isWebPage(headers) && headers['content-length'] !== '0';
}

/**
 * Whether a registry says it: by the specification's error, or by the header that all of them sent once.
 * An answer to a HEAD has no error in it; one that claims no other type than JSON is believed.
 */
function isRegistrys(refusal: Refusal): boolean {
  const { headers, body } = refusal;
  if (headers['docker-distribution-api-version'] !== undefined) return true;
  if (body !== undefined) return hasSpecError(refusal);
  const type = claimedType(headers);
  return type === undefined || headers['content-length'] === '0' || /[/+]json$/i.test(type);
}

/** `{"errors":[{"code":"…"}]}`: distribution-spec, «Error Codes». */
function hasSpecError({ body }: Refusal): boolean {
  if (body === undefined) return false;
  try {
    const document: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    const { errors } = (document ?? {}) as { errors?: unknown };
    const [first] = Array.isArray(errors) ? (errors as unknown[]) : [];
    return typeof (first as { code?: unknown } | undefined)?.code === 'string';
  } catch {
    return false;
  }
}

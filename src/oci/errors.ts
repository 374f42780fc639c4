/**
 * One error class and one table. A part of the mirror throws `MirrorError(code, …)`; the table says
 * what a client sees of it and how loud the log is. Anything else that is thrown is a bug.
 *
 * OCI codes: distribution-spec, «Error Codes». Why a status was chosen: what each answer costs each
 * client was measured (dockerd retries a blob 5xx for 50 s and goes on at once after 404).
 */

/** The error codes of the OCI distribution-spec that a mirror can answer. */
export type OciCode =
  | 'BLOB_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNKNOWN'
  | 'UNSUPPORTED';

type LogLevel = 'debug' | 'info' | 'warn' | 'error';

interface ErrorRow {
  readonly oci: OciCode;
  readonly status: number;
  readonly log: LogLevel;
  /** What happened and what a person can do; printed in the README's error table. */
  readonly meaning: string;
}

const table = {
  NAME_INVALID: row(
    'NAME_INVALID',
    400,
    'info',
    'The repository name breaks the grammar of the specification.',
  ),
  NAME_UNKNOWN: row(
    'NAME_UNKNOWN',
    404,
    'info',
    'The registry named in the request is not a configured upstream, or the repository does not exist there.',
  ),
  DIGEST_INVALID: row(
    'DIGEST_INVALID',
    400,
    'info',
    'The digest is malformed, or its algorithm is neither sha256 nor sha512.',
  ),
  TAG_INVALID: row(
    'MANIFEST_UNKNOWN',
    404,
    'info',
    'The tag breaks the grammar of the specification, so no such manifest can exist.',
  ),
  REQUEST_INVALID: row(
    'UNSUPPORTED',
    400,
    'info',
    'The request itself is malformed: a body on a GET, a bad query parameter, too many ranges.',
  ),
  PATH_UNKNOWN: row('NAME_UNKNOWN', 404, 'info', 'No endpoint of the registry API has this path.'),
  METHOD_UNSUPPORTED: row(
    'UNSUPPORTED',
    405,
    'info',
    'A mirror is read-only: push to the upstream registry instead.',
  ),
  RANGE_UNSATISFIABLE: row(
    'SIZE_INVALID',
    416,
    'info',
    'No requested range lies inside the content; Content-Range names its size.',
  ),
  BLOB_UNKNOWN: row(
    'BLOB_UNKNOWN',
    404,
    'info',
    'Upstream does not have this blob in this repository.',
  ),
  MANIFEST_UNKNOWN: row(
    'MANIFEST_UNKNOWN',
    404,
    'info',
    'Upstream does not have this manifest in this repository.',
  ),
  DENIED: row(
    'DENIED',
    403,
    'warn',
    'Upstream refused the mirror (its 401 or 403 after our token): check the credentials of that upstream.',
  ),
  BLOB_UNAVAILABLE: row(
    'BLOB_UNKNOWN',
    404,
    'warn',
    'Upstream could not be asked for this blob. 404 lets dockerd and containerd go on at once; `blobUnavailable: 503` changes it.',
  ),
  UPSTREAM_UNAVAILABLE: row(
    'UNKNOWN',
    503,
    'warn',
    'Upstream does not answer, or answers with an error, and nothing usable is cached.',
  ),
  UPSTREAM_LIMITED: row(
    'TOOMANYREQUESTS',
    503,
    'warn',
    'Upstream limits our requests (429) and nothing usable is cached.',
  ),
  UPSTREAM_INVALID: row(
    'MANIFEST_INVALID',
    502,
    'error',
    'Upstream sent something that is not what was asked for: wrong digest, not a manifest, too large.',
  ),
  CONTENT_CORRUPT: row(
    'UNKNOWN',
    502,
    'error',
    'The bytes that arrived do not match their digest; the connection is cut and nothing is kept.',
  ),
  DISK_FAILED: row(
    'UNKNOWN',
    503,
    'error',
    'The cache disk refused a read or a write; check its space, health and permissions.',
  ),
  OVERLOADED: row(
    'TOOMANYREQUESTS',
    503,
    'warn',
    'A queue of the mirror is full; the client may try again after Retry-After.',
  ),
  CANCELLED: row(
    'UNKNOWN',
    503,
    'debug',
    'The work was stopped because nobody waits for it any more, or the mirror is shutting down.',
  ),
} as const satisfies Record<string, ErrorRow>;

/** Every way in which the mirror can fail; a row of the table each. */
export type ErrorCode = keyof typeof table;

/** The whole table, for the serialiser and for the test that holds the README to it. */
export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = table;

export interface MirrorErrorOptions {
  readonly cause?: unknown;
  /** Structured facts for the `detail` member of the error JSON. Never secrets. */
  readonly detail?: Readonly<Record<string, unknown>>;
  readonly retryAfterSeconds?: number;
}

/** The only error that a part of the mirror throws on purpose. Match on `code`, never on text. */
export class MirrorError extends Error {
  override readonly name = 'MirrorError';
  readonly code: ErrorCode;
  readonly detail: Readonly<Record<string, unknown>> | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: MirrorErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Whether `error` is a `MirrorError`, with that code when one is given. */
export function isMirrorError(error: unknown, ...codes: ErrorCode[]): error is MirrorError {
  return error instanceof MirrorError && (codes.length === 0 || codes.includes(error.code));
}

function row(oci: OciCode, status: number, log: LogLevel, meaning: string): ErrorRow {
  return { oci, status, log, meaning };
}

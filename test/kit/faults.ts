import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';

export type RequestKind =
  | 'ping'
  | 'manifest'
  | 'blob'
  | 'tags'
  | 'referrers'
  | 'catalog'
  | 'token'
  | 'other';

/** One request as upstream saw it. Its last two members grow while the answer is on its way. */
export interface RecordedRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly kind: RequestKind;
  readonly repository: string | undefined;
  /** Tag or digest; the scope of a token request. */
  readonly reference: string | undefined;
  readonly range: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** Milliseconds on the scale of `performance.now()`. */
  readonly at: number;
  /** 0 until answered, or when the connection was cut before. */
  status: number;
  /** Body bytes that the kernel took for the client. */
  bodyBytesSent: number;
}

/** Which requests are meant; every member that is given must match. */
export interface RequestFilter {
  readonly method?: string;
  readonly kind?: RequestKind;
  readonly repository?: string;
  readonly reference?: string;
  /** Whether it asks for a range. */
  readonly ranged?: boolean;
}

/** A step of the script: the first rule that matches and is not used up decides. */
export interface Rule {
  readonly when?: RequestFilter;
  /** Lets that many matching requests pass before it acts. */
  readonly skip?: number;
  /** Acts that often; for ever unless told. */
  readonly times?: number;
  readonly do: Fault;
}

/** How an answer differs from the right one. Members combine; positions count body bytes of the answer. */
export interface Fault {
  /** Waits for this promise before it answers. */
  readonly holdUntil?: Promise<unknown>;
  readonly delayMs?: number;
  /** Cuts the connection (RST) in place of an answer. */
  readonly hangUp?: boolean;
  /** Answers this in place of the content; `body` defaults to a spec error for a status from 400 on. */
  readonly status?: number;
  readonly body?: string | Buffer;
  /** Added to the right ones, or in their place. */
  readonly headers?: OutgoingHttpHeaders;
  readonly dropHeaders?: readonly string[];
  /** 307, or `status`, to this address; a function gets the path and query that were asked for. */
  readonly redirectTo?: string | ((path: string) => string);
  /** Ends the connection cleanly (FIN) after that many bytes, whatever Content-Length said. */
  readonly truncateAfterBytes?: number;
  /** Cuts the connection (RST) after that many bytes. */
  readonly resetAfterBytes?: number;
  /** Sends nothing more after that many bytes until the promise settles. */
  readonly stall?: { readonly afterBytes: number; readonly until: Promise<unknown> };
  /** One wrong byte, at this offset of the content. */
  readonly flipByteAt?: number;
  /** Bytes after the end of the content, without a word of them in Content-Length. */
  readonly appendBytes?: number;
  /** Chunked transfer coding. */
  readonly noContentLength?: boolean;
  /** 200 and the whole. */
  readonly ignoreRange?: boolean;
  readonly rateBytesPerSecond?: number;
}

export function matches(filter: RequestFilter | undefined, request: RecordedRequest): boolean {
  if (filter === undefined) return true;
  const { ranged, ...rest } = filter;
  if (ranged !== undefined && ranged !== (request.range !== undefined)) return false;
  return Object.entries(rest).every(
    ([name, value]) => value === undefined || request[name as keyof typeof rest] === value,
  );
}

/** A list of rules that remembers how often each was used. */
export class Script {
  readonly #rules: { readonly rule: Rule; seen: number }[] = [];

  constructor(rules: readonly Rule[]) {
    this.add(...rules);
  }

  add(...rules: Rule[]): void {
    this.#rules.push(...rules.map((rule) => ({ rule, seen: 0 })));
  }

  clear(): void {
    this.#rules.length = 0;
  }

  faultFor(request: RecordedRequest): Fault {
    for (const entry of this.#rules) {
      const { when, skip = 0, times = Infinity } = entry.rule;
      if (!matches(when, request)) continue;
      entry.seen += 1;
      if (entry.seen > skip && entry.seen <= skip + times) return entry.rule.do;
    }
    return {};
  }
}

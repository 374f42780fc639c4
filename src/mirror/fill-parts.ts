import type { ClientsFirst } from '../base/clients-first.ts';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { ByteRange } from '../base/intervals.ts';
import type { Priority } from '../base/limiter.ts';
import type { Reader } from '../base/reader.ts';
import type { Pace } from '../base/token-bucket.ts';
import { isOfNothing, type Digest } from '../oci/digest.ts';
import { MirrorError } from '../oci/errors.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { BlobStore, StoredBlob } from '../store/blob-store.ts';
import { chunkBytes } from '../store/chunk-cache.ts';
import type { Ingest } from '../store/ingest.ts';
import type { BlobBody, Upstream } from '../upstream/upstream.ts';
import type { LanePace } from './lane.ts';
import { afterFailure, pause } from './retry.ts';
import { Segments } from './segments.ts';
import type { Suspects } from './suspects.ts';

/** What an upstream's settings say about fills. Bytes, bytes a second, milliseconds. */
export interface FillPolicy extends LanePace {
  readonly connectionsPerBlob: number;
  /** Shared by all that is fetched from this upstream; undefined: no limit. */
  readonly bandwidth: Pace | undefined;
  /** Of all that is fetched from this upstream, too; undefined: the limit sees to the order. */
  readonly clientsFirst: ClientsFirst | undefined;
}

/** What a fill works with. */
export interface FillParts {
  readonly repository: Repository;
  readonly digest: Digest;
  /** From the manifest that names it. */
  readonly expectedBytes: number | undefined;
  readonly upstream: Upstream;
  readonly policy: FillPolicy;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly observe: Observe;
  /** Who asked first, if nobody joins. */
  readonly reason: Priority;
  readonly suspects: Suspects;
}

/** A fill under way. Bytes; milliseconds. */
export interface FillProgress {
  readonly digest: Digest;
  readonly repository: Repository;
  readonly reason: Priority;
  /** Undefined while nobody has said. */
  readonly sizeBytes: number | undefined;
  readonly doneBytes: number;
  /** What upstream sent for it so far; less than what is done when a killed process had begun. */
  readonly fetchedBytes: number;
  /** Who reads it as it arrives. */
  readonly clients: number;
  readonly connections: number;
  readonly runningMs: number;
}

/** The content of a fill as it grows. @param leave called by the first `close` */
export function growingContent(
  digest: Digest,
  ingest: Ingest,
  suspects: Suspects,
  leave: () => void,
): StoredBlob {
  let isOpen = true;
  return {
    digest,
    sizeBytes: ingest.sizeBytes,
    read: (range: ByteRange): Reader => ingest.read(range, suspects.has(digest)),
    close: () => {
      if (isOpen) leave();
      isOpen = false;
    },
  };
}

/**
 * A part of the blob from upstream, or the whole; when it is our turn. Who announces another size than
 * is known may err, or who told us: another one is asked, where there is one.
 * @param knownBytes its size, when that is known
 * @throws MirrorError as `Upstream.fetchBlob`; UPSTREAM_INVALID for another size, or nothing for what is
 *   something
 */
export async function fetchPart(
  { upstream, repository, digest, policy, suspects }: FillParts,
  part: ByteRange | undefined,
  knownBytes: number | undefined,
  wait: { readonly signal: AbortSignal; readonly priority: () => Priority },
): Promise<BlobBody> {
  await policy.clientsFirst?.turn(wait.priority, wait.signal);
  const isWhole = part?.start === 0 && part.end >= (knownBytes ?? Infinity);
  const wanted = isWhole ? undefined : part;
  for (let times = 1; ; times += 1) {
    const body = await upstream.fetchBlob(repository.name, digest, wanted, wait);
    if (mayBe(digest, body.sizeBytes, knownBytes)) {
      suspects.sentBy(digest, body.distrust);
      return body;
    }
    body.body.destroy();
    const isThereAnother = body.distrust();
    if (times === 1 && isThereAnother) continue;
    throw new MirrorError(
      'UPSTREAM_INVALID',
      `upstream announces ${body.sizeBytes} bytes for ${digest}; it has ${knownBytes ?? 'some'}`,
    );
  }
}

function mayBe(
  digest: Digest,
  sizeBytes: number | undefined,
  knownBytes: number | undefined,
): boolean {
  if (sizeBytes === undefined) return true;
  const isRight = sizeBytes === (knownBytes ?? sizeBytes);
  return isRight && (sizeBytes > 0 || isOfNothing(digest));
}

/**
 * Waits after a transfer that broke or could not start, until the next attempt.
 * @throws the error, when there is to be no other; the signal's reason
 */
export async function pauseAfter(
  { digest, repository, observe }: FillParts,
  broken: { readonly error: unknown; readonly attempts: number; readonly offset: number },
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  signal.throwIfAborted();
  const { error, attempts, offset } = broken;
  const decision = afterFailure(error, attempts, offset > 0);
  if (decision.do === 'give up') throw error;
  observe({
    kind: 'fill-resumed',
    digest,
    repository: repositoryKey(repository),
    offset,
    reason: error instanceof Error ? error.message : String(error),
    attempt: attempts,
  });
  await pause(decision.afterMs, signal);
}

/** Calls when it is known how much there is to read; that it is nothing, only the digest can say. */
export function onSize(ingest: Ingest, call: () => void): void {
  ingest.sizeKnown.then(
    (sizeBytes) => sizeBytes > 0 && call(),
    () => {},
  );
}

/** The body, when it can bring a blob from `position` on; else it is let go. */
export function bodyFrom(body: BlobBody, position: number): BlobBody | undefined {
  if (body.start <= position) return body;
  body.body.destroy();
  return undefined;
}

/** Who is to bring what; without a size nothing can be divided: one connection then, to the end. */
export function segmentsOf(
  ingest: Ingest,
  sizeBytes: number | undefined,
  { connectionsPerBlob }: FillPolicy,
): Segments {
  return new Segments(sizeBytes ?? Infinity, connectionsPerBlob, chunkBytes, ingest.filled());
}

import { setTimeout as later } from 'node:timers';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { ByteRange } from '../base/intervals.ts';
import type { Priority } from '../base/limiter.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { BlobStore, StoredBlob } from '../store/blob-store.ts';
import { chunkBytes } from '../store/chunk-cache.ts';
import type { Reader } from '../store/content.ts';
import type { Ingest } from '../store/ingest.ts';
import type { BlobBody, Upstream } from '../upstream/upstream.ts';
import { afterFailure, pause } from './retry.ts';
import { Segments, type Segment } from './segments.ts';

/** What an upstream's settings say about fills. Bytes, bytes a second, milliseconds. */
export interface FillPolicy {
  readonly connectionsPerBlob: number;
  readonly idleTimeoutMs: number;
  readonly minBytesPerSecond: number;
}

/** How often a running fill looks at its connections. */
const lookMs = 50;

/** A connection is measured this long before anything is concluded from its speed. */
const measureMs = 150;

/** A transfer that one connection ends sooner than this is left to it. */
const worthwhileMs = 500;

/** A waiting reader whose bytes come sooner than this waits for the connection that brings them. */
const patienceMs = 150;

/** A connection this fast is limited by disk and hash, not by the link: more of them bring nothing. */
const fastBytesPerSecond = 200 * 1024 * 1024;

/** A blob this small is fetched to its end although everybody left. */
const smallBytes = 16 * 1024 * 1024;

/** How long an unfinished fill waits for somebody to come back. */
const lingerMs = 5_000;

interface FillParts {
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
  readonly reason: 'client' | 'read-ahead';
}

/** One connection that brings a segment. */
interface Lane {
  readonly segment: Segment;
  body: BlobBody | undefined;
  lastByteMs: number;
  windowStartMs: number;
  windowBytes: number;
  startedMs: number;
  bytes: number;
  /** It waits for the disk, so upstream is not to blame for silence. */
  isWaitingForDisk: boolean;
}

/**
 * The transfer of one blob from upstream into the store, owned by nobody who reads it.
 *
 *   first GET ──headers──▶ opened: `content()` can be read
 *      │                      │  one lane from byte 0; more lanes when it is slow, or a reader
 *      │                      │  waits far ahead; broken lanes go on with Range
 *      │                      ▼
 *      └──────▶ failed     all filled ──digest right──▶ verified ──▶ committed: `ended`
 *
 * Everybody gone: it goes on when it is small, past half, or read-ahead; else it stops after a linger.
 */
export class Fill {
  readonly digest: Digest;
  readonly repository: Repository;
  /** Resolves when the size is known and bytes can be read; rejects with why not. */
  readonly opened: Promise<void>;
  /** Resolves when it is committed or has failed; never rejects. */
  readonly ended: Promise<void>;

  readonly #parts: FillParts;
  readonly #abort = new AbortController();
  readonly #open = Promise.withResolvers<void>();
  readonly #lanes = new Map<Segment, Lane>();
  #laneTasks = 0;
  #ingest: Ingest | undefined;
  #segments: Segments | undefined;
  #failure: unknown;
  #announcedBytes: number | undefined;
  #clients = 0;
  #linger: NodeJS.Timeout | undefined;
  #refusesRanges = false;
  #fetchedBytes = 0;
  #connections = 0;
  #idle = Promise.withResolvers<void>();

  constructor(parts: FillParts) {
    this.#parts = parts;
    this.digest = parts.digest;
    this.repository = parts.repository;
    this.#announcedBytes = parts.expectedBytes;
    this.opened = this.#open.promise;
    this.opened.catch(() => {});
    this.ended = this.#run();
  }

  /** What upstream or the manifest said of the size, for whoever has to do without this fill. */
  get announcedBytes(): number | undefined {
    return this.#announcedBytes;
  }

  /** A client waits for it; undone by the `close` of its content, or by `leave`. */
  join(): void {
    this.#clients += 1;
    clearTimeout(this.#linger);
    this.#linger = undefined;
  }

  leave(): void {
    this.#clients -= 1;
    if (this.#clients === 0 && this.#parts.reason === 'client') this.#consider();
  }

  /** The content as it grows; only after `opened`, once for every `join`. */
  content(): StoredBlob {
    const ingest = this.#ingest;
    if (ingest === undefined) throw new Error('the fill is not open yet');
    let isOpen = true;
    return {
      digest: this.digest,
      sizeBytes: ingest.sizeBytes,
      read: (range: ByteRange): Reader => ingest.read(range),
      close: () => {
        if (isOpen) this.leave();
        isOpen = false;
      },
    };
  }

  /** Stops it: the mirror shuts down. */
  stop(): void {
    this.#cancel('the mirror is shutting down');
  }

  async #run(): Promise<void> {
    const { clock, digest, observe } = this.#parts;
    const repository = repositoryKey(this.repository);
    const startMs = clock.monotonicMs();
    observe({ kind: 'fill-started', digest, repository, reason: this.#parts.reason });
    let ticker: NodeJS.Timeout | undefined;
    try {
      const body = await this.#firstBody();
      const ingest = await this.#begin(body);
      ticker = setInterval(() => this.#look(), lookMs);
      await this.#idle.promise;
      if (this.#failure !== undefined) throw this.#failure;
      await ingest.complete();
      await ingest.committed;
      observe({
        kind: 'fill-committed',
        digest,
        repository,
        sizeBytes: ingest.sizeBytes,
        fetchedBytes: this.#fetchedBytes,
        connections: this.#connections,
        durationMs: clock.monotonicMs() - startMs,
      });
    } catch (error) {
      this.#failure ??= error;
      this.#abort.abort(error);
      this.#open.reject(error);
      await this.#ingest?.fail(error);
      observe({
        kind: 'fill-failed',
        digest,
        repository,
        code: isMirrorError(error) ? error.code : 'BUG',
        message: error instanceof Error ? error.message : String(error),
        fetchedBytes: this.#fetchedBytes,
        durationMs: clock.monotonicMs() - startMs,
      });
      if (!isMirrorError(error)) observe({ kind: 'bug', where: 'fill', error });
    } finally {
      clearInterval(ticker);
      clearTimeout(this.#linger);
    }
  }

  /** The open GET from byte 0, so that the first byte is as early as upstream's. */
  async #firstBody(): Promise<BlobBody> {
    for (let attempts = 1; ; attempts += 1) {
      try {
        return await this.#fetch(undefined);
      } catch (error) {
        await this.#waitBeforeNext(error, attempts, 0);
      }
    }
  }

  async #begin(body: BlobBody): Promise<Ingest> {
    const { digest, expectedBytes, store, policy } = this.#parts;
    const sizeBytes = body.sizeBytes ?? expectedBytes;
    this.#announcedBytes = sizeBytes;
    try {
      this.#ingest = await store.ingest(digest, sizeBytes);
    } catch (error) {
      body.body.destroy();
      throw error;
    }
    const ingest = this.#ingest;
    // Without a size nothing can be divided: one connection then, to the end.
    this.#segments = new Segments(sizeBytes ?? Infinity, policy.connectionsPerBlob, chunkBytes);
    this.#refusesRanges = sizeBytes === undefined;
    ingest.onWaiting = (position) => this.#demand(position);
    void ingest.sizeKnown.then(
      () => this.#open.resolve(),
      () => {},
    );
    if (sizeBytes === 0) {
      body.body.destroy();
      this.#idle.resolve();
    } else {
      if (!body.acceptsRanges) this.#refusesRanges = true;
      this.#startLane(this.#segments.takeAll(0), body);
    }
    return ingest;
  }

  #startLane(segment: Segment, body: BlobBody | undefined): void {
    this.#laneTasks += 1;
    void this.#runLane(segment, body).finally(() => {
      this.#laneTasks -= 1;
      if (this.#laneTasks > 0) return;
      // What a lane gave back while the last other one ended is still to be brought.
      const rest = this.#failure === undefined ? this.#segments?.take([]) : undefined;
      if (rest === undefined) this.#idle.resolve();
      else this.#startLane(rest, undefined);
    });
  }

  /** Brings one segment after the other until nothing is left to fetch. */
  async #runLane(first: Segment, firstBody: BlobBody | undefined): Promise<void> {
    const ingest = this.#ingest!;
    const segments = this.#segments!;
    let segment: Segment | undefined = first;
    let body = firstBody;
    while (segment !== undefined) {
      try {
        await this.#bring(segment, body, ingest);
      } catch (error) {
        segments.giveBack(segment);
        const isLast = this.#laneTasks === 1;
        // A connection more is a wish: when upstream refuses it, those that run do the work.
        if (isLast || isMirrorError(error, 'DISK_FAILED') || !isMirrorError(error))
          this.#failure ??= error;
        else this.#refusesRanges ||= isMirrorError(error, 'UPSTREAM_INVALID');
        if (this.#failure !== undefined) this.#abort.abort(this.#failure);
        return;
      }
      segments.giveBack(segment);
      body = undefined;
      segment = segments.take(ingest.waitingPositions());
    }
  }

  /** Brings one segment, over as many transfers as it takes while they make progress. */
  async #bring(segment: Segment, firstBody: BlobBody | undefined, ingest: Ingest): Promise<void> {
    let body = firstBody;
    for (let attempts = 0; segment.position < segment.end;) {
      const before = segment.position;
      try {
        body ??= await this.#fetch({ start: segment.position, end: segment.end });
        await this.#pump(segment, body, ingest);
        if (segment.position < segment.end) {
          throw new MirrorError('UPSTREAM_UNAVAILABLE', 'upstream closed the connection too early');
        }
      } catch (error) {
        const failure = ingest.failure ?? this.#abort.signal.reason ?? asUpstreamError(error);
        attempts = segment.position > before ? 0 : attempts + 1;
        // One that brings nothing leaves its part to those that do.
        if (attempts > 0 && this.#laneTasks > 1) throw failure;
        await this.#waitBeforeNext(failure, attempts, segment.position);
      }
      body = undefined;
    }
  }

  /** Moves one body into the file, as far as its segment goes. */
  async #pump(segment: Segment, body: BlobBody, ingest: Ingest): Promise<void> {
    const { clock } = this.#parts;
    const now = clock.monotonicMs();
    const lane: Lane = {
      segment,
      body,
      lastByteMs: now,
      windowStartMs: now,
      windowBytes: 0,
      startedMs: now,
      bytes: 0,
      isWaitingForDisk: false,
    };
    this.#lanes.set(segment, lane);
    const writer = ingest.writer(segment.position);
    // An upstream that ignores the range sends what is here already once more.
    let skip = segment.position - body.start;
    try {
      for await (const chunk of body.body as AsyncIterable<Buffer>) {
        this.#fetchedBytes += chunk.length;
        lane.lastByteMs = clock.monotonicMs();
        lane.windowBytes += chunk.length;
        lane.bytes += chunk.length;
        const from = Math.min(skip, chunk.length);
        skip -= from;
        const take = Math.min(chunk.length - from, segment.end - segment.position);
        const behind = writer.append(chunk.subarray(from, from + take));
        segment.position = writer.position;
        if (segment.position >= segment.end) break;
        if (behind !== undefined) {
          lane.isWaitingForDisk = true;
          await behind;
          lane.isWaitingForDisk = false;
          lane.lastByteMs = clock.monotonicMs();
        }
      }
      // Without an announced size, the clean end of the body is the size.
      if (segment.end === Infinity) {
        segment.end = segment.position;
        ingest.setSize(segment.position);
      }
    } finally {
      this.#lanes.delete(segment);
      body.body.destroy();
      await writer.end();
    }
  }

  async #fetch(part: ByteRange | undefined): Promise<BlobBody> {
    const { upstream, digest } = this.#parts;
    const isWhole = part?.start === 0 && part.end >= (this.#announcedBytes ?? Infinity);
    const body = await upstream.fetchBlob(
      this.repository.name,
      digest,
      isWhole ? undefined : part,
      {
        signal: this.#abort.signal,
        priority: () => this.#priority(),
      },
    );
    this.#connections += 1;
    const known = this.#announcedBytes;
    if (known !== undefined && body.sizeBytes !== undefined && body.sizeBytes !== known) {
      body.body.destroy();
      throw new MirrorError(
        'UPSTREAM_INVALID',
        `upstream announces ${body.sizeBytes} bytes for ${digest}; it has ${known}`,
      );
    }
    if (part === undefined || body.start === part.start) return body;
    this.#refusesRanges = true;
    if (this.#laneTasks <= 1) return body;
    body.body.destroy();
    throw new MirrorError('UPSTREAM_INVALID', 'upstream ignores Range requests');
  }

  async #waitBeforeNext(error: unknown, attempts: number, position: number): Promise<void> {
    this.#abort.signal.throwIfAborted();
    const decision = afterFailure(error, attempts);
    if (decision.do === 'give up') throw error;
    this.#parts.observe({
      kind: 'fill-resumed',
      digest: this.digest,
      repository: repositoryKey(this.repository),
      offset: position,
      reason: error instanceof Error ? error.message : String(error),
      attempt: attempts,
    });
    await pause(decision.afterMs, this.#abort.signal);
  }

  #priority(): Priority {
    return this.#clients > 0 || this.#parts.reason === 'client' ? 'client' : 'read-ahead';
  }

  /** A reader waits: when its bytes would come late, another connection fetches them now. */
  #demand(position: number): void {
    const { policy } = this.#parts;
    if (this.#refusesRanges || this.#failure !== undefined) return;
    // Even with one connection a blob, a range far ahead does not wait for the whole.
    if (this.#laneTasks >= Math.max(2, policy.connectionsPerBlob)) return;
    const segment = this.#segments!.bringerOf(position);
    const lane = segment === undefined ? undefined : this.#lanes.get(segment);
    if (segment !== undefined && segment.position <= position) {
      if (position - segment.position < chunkBytes) return;
      // A connection that has just begun is measured first; `look` comes back to this reader.
      if (lane === undefined || !this.#isMeasured(lane)) return;
      if ((position - segment.position) / this.#rateOf(lane) < patienceMs / 1000) return;
    }
    const ahead = this.#segments!.takeAhead(position);
    if (ahead !== undefined) this.#startLane(ahead, undefined);
  }

  /** The regular look: silence, drip, readers that wait far ahead, and whether more connections pay. */
  #look(): void {
    const now = this.#parts.clock.monotonicMs();
    for (const lane of this.#lanes.values()) this.#watch(lane, now);
    const ingest = this.#ingest;
    if (ingest === undefined || this.#refusesRanges || this.#failure !== undefined) return;
    for (const position of ingest.waitingPositions()) this.#demand(position);
    this.#widen(ingest);
  }

  #widen(ingest: Ingest): void {
    const { connectionsPerBlob } = this.#parts.policy;
    const lanes = [...this.#lanes.values()];
    if (
      lanes.length === 0 ||
      lanes.length < this.#laneTasks ||
      !lanes.every((l) => this.#isMeasured(l))
    ) {
      return;
    }
    const rate = lanes.reduce((sum, lane) => sum + this.#rateOf(lane), 0);
    const restBytes = ingest.sizeBytes - ingest.filledBytes;
    if (rate >= fastBytesPerSecond || (restBytes / rate) * 1000 < worthwhileMs) return;
    while (this.#laneTasks < connectionsPerBlob) {
      const segment = this.#segments!.take([]) ?? this.#segments!.split();
      if (segment === undefined) return;
      this.#startLane(segment, undefined);
    }
  }

  /** Breaks a connection that is silent, or slower than the least that is worth keeping. */
  #watch(lane: Lane, now: number): void {
    const { idleTimeoutMs, minBytesPerSecond } = this.#parts.policy;
    if (lane.isWaitingForDisk) return;
    if (now - lane.lastByteMs > idleTimeoutMs) {
      lane.body?.body.destroy(new Error(`upstream sent nothing for ${idleTimeoutMs} ms`));
      return;
    }
    if (now - lane.windowStartMs < idleTimeoutMs) return;
    const leastBytes = (minBytesPerSecond * (now - lane.windowStartMs)) / 1000;
    if (lane.windowBytes < leastBytes) {
      lane.body?.body.destroy(
        new Error(`upstream sent less than ${minBytesPerSecond} bytes a second`),
      );
    }
    lane.windowStartMs = now;
    lane.windowBytes = 0;
  }

  #isMeasured(lane: Lane): boolean {
    return this.#parts.clock.monotonicMs() - lane.startedMs >= measureMs;
  }

  /** Bytes a second of one connection since it began. */
  #rateOf(lane: Lane): number {
    const seconds = (this.#parts.clock.monotonicMs() - lane.startedMs) / 1000;
    return Math.max(1, lane.bytes / Math.max(seconds, 0.001));
  }

  #consider(): void {
    if (this.#isWorthEnding()) return;
    clearTimeout(this.#linger);
    this.#linger = later(() => {
      if (this.#clients > 0 || this.#isWorthEnding()) return;
      this.#cancel('everybody who waited for it has left');
    }, lingerMs);
    this.#linger.unref();
  }

  #isWorthEnding(): boolean {
    const size = this.#announcedBytes ?? 0;
    const ingest = this.#ingest;
    return ingest !== undefined && (size <= smallBytes || ingest.filledBytes * 2 >= size);
  }

  #cancel(why: string): void {
    this.#failure ??= new MirrorError(
      'CANCELLED',
      `the fill of ${this.digest} was stopped: ${why}`,
    );
    this.#abort.abort(this.#failure);
    for (const { body } of this.#lanes.values()) body?.body.destroy();
  }
}

function asUpstreamError(error: unknown): unknown {
  if (isMirrorError(error)) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new MirrorError('UPSTREAM_UNAVAILABLE', `the transfer from upstream broke: ${why}`, {
    cause: error,
  });
}

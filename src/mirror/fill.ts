import type { ByteRange } from '../base/intervals.ts';
import type { Priority } from '../base/limiter.ts';
import type { Digest } from '../oci/digest.ts';
import { isMirrorError, MirrorError } from '../oci/errors.ts';
import { repositoryKey, type Repository } from '../oci/reference.ts';
import type { StoredBlob } from '../store/blob-store.ts';
import { chunkBytes } from '../store/chunk-cache.ts';
import type { Ingest } from '../store/ingest.ts';
import type { BlobBody } from '../upstream/upstream.ts';
import { FillAudience } from './fill-audience.ts';
import { isProgress, isTooFarAhead, isWorthEnding, paysToWiden } from './fill-decisions.ts';
import type { FillParts, FillProgress } from './fill-parts.ts';
import {
  bodyFrom,
  fetchPart,
  growingContent,
  onSize,
  pauseAfter,
  segmentsOf,
} from './fill-parts.ts';
import { Lane } from './lane.ts';
import { asUpstreamError } from './retry.ts';
import type { Segment, Segments } from './segments.ts';

/** How often a running fill looks at its connections. */
const lookMs = 50;

/** After a connection that was refused, no other is tried for so long. */
const noMoreMs = 5_000;

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
  readonly #wait = { signal: this.#abort.signal, priority: () => this.#priority() };
  readonly #open = Promise.withResolvers<void>();
  readonly #lanes = new Map<Segment, Lane>();
  #laneTasks = 0;
  #ingest: Ingest | undefined;
  #segments: Segments | undefined;
  #failure: unknown;
  #announcedBytes: number | undefined;
  readonly #audience: FillAudience;
  #refusesRanges = false;
  #noMoreUntilMs = 0;
  #fetchedBytes = 0;
  #connections = 0;
  #idle = Promise.withResolvers<void>();
  readonly #startMs: number;
  readonly #loopAtStart = performance.eventLoopUtilization();

  constructor(parts: FillParts) {
    this.#parts = parts;
    this.#startMs = parts.clock.monotonicMs();
    this.digest = parts.digest;
    this.repository = parts.repository;
    this.#announcedBytes = parts.expectedBytes;
    this.#audience = new FillAudience({
      isWorthEnding: () => this.#isWorthEnding(),
      gone: () => this.#cancel('everybody who waited for it has left'),
    });
    this.opened = this.#open.promise;
    this.opened.catch(() => {});
    this.ended = this.#run();
  }

  get progress(): FillProgress {
    return {
      digest: this.digest,
      repository: this.repository,
      reason: this.#parts.reason,
      sizeBytes: this.#announcedBytes,
      doneBytes: this.#ingest?.filledBytes ?? 0,
      fetchedBytes: this.#fetchedBytes,
      clients: this.#audience.size,
      connections: this.#lanes.size,
      runningMs: this.#parts.clock.monotonicMs() - this.#startMs,
    };
  }

  /** What upstream or the manifest said of the size, for whoever has to do without this fill. */
  get announcedBytes(): number | undefined {
    return this.#announcedBytes;
  }

  /** A client waits for it; undone by the `close` of its content, or by `leave`. */
  join(): void {
    this.#audience.join();
  }

  leave(): void {
    this.#audience.leave();
  }

  /** The content as it grows; only after `opened`, once for every `join`. */
  content(): StoredBlob {
    const ingest = this.#ingest;
    if (ingest === undefined) throw new Error('the fill is not open yet');
    return growingContent(this.digest, ingest, this.#parts.suspects, () => this.leave());
  }

  /** Why it failed; undefined while it runs and when it is committed. */
  get failure(): unknown {
    return this.#failure ?? this.#ingest?.failure;
  }

  stop(): void {
    this.#cancel('the mirror is shutting down');
  }

  /** Who wanted it for this reason does no more: whether that ends it, and no client reads it. */
  abandon(reason: Priority): boolean {
    const isIdle = this.#audience.size === 0 && this.#parts.reason === reason;
    if (isIdle) this.#cancel('it is no longer wanted');
    return isIdle;
  }

  async #run(): Promise<void> {
    const { digest, observe, reason } = this.#parts;
    const repository = repositoryKey(this.repository);
    observe({ kind: 'fill-started', digest, repository, reason });
    try {
      const { sizeBytes } = await this.#transfer();
      const connections = this.#connections;
      observe({ kind: 'fill-committed', ...this.#outcome(), sizeBytes, connections });
    } catch (error) {
      this.#failure ??= error;
      this.#abort.abort(error);
      const code = isMirrorError(error) ? error.code : 'BUG';
      if (code === 'CONTENT_CORRUPT') this.#parts.suspects.add(digest);
      this.#open.reject(error);
      await this.#ingest?.fail(error);
      const message = error instanceof Error ? error.message : String(error);
      observe({ kind: 'fill-failed', ...this.#outcome(), code, message });
      if (code === 'BUG') observe({ kind: 'bug', where: 'fill', error });
    } finally {
      this.#audience.close();
    }
  }

  async #transfer(): Promise<Ingest> {
    const ingest = await this.#begin(await this.#firstBody());
    const ticker = setInterval(() => this.#look(), lookMs);
    try {
      await this.#idle.promise;
      if (this.#failure !== undefined) throw this.#failure;
      await ingest.complete();
      this.#open.resolve();
      await ingest.committed;
      return ingest;
    } finally {
      clearInterval(ticker);
    }
  }

  #outcome(): { digest: Digest; repository: string; fetchedBytes: number; durationMs: number } {
    return {
      digest: this.digest,
      repository: repositoryKey(this.repository),
      fetchedBytes: this.#fetchedBytes,
      durationMs: this.#parts.clock.monotonicMs() - this.#startMs,
    };
  }

  /**
   * The open GET from byte 0, so that the first byte is as early as upstream's; from where a killed
   * process came, when that is worth it.
   */
  async #firstBody(): Promise<BlobBody> {
    const rest = this.#parts.store.resumable(this.digest);
    // One attempt fewer than for a transfer that broke: a client waits for headers meanwhile.
    for (let attempts = 2; ; attempts += 1) {
      try {
        return await this.#fetch(rest);
      } catch (error) {
        // Known to be down: the client may go on at once.
        if (this.#parts.upstream.isDown) throw error;
        await pauseAfter(this.#parts, { error, attempts, offset: 0 }, this.#wait);
      }
    }
  }

  async #begin(body: BlobBody): Promise<Ingest> {
    const { digest, expectedBytes, store, policy } = this.#parts;
    const sizeBytes = body.sizeBytes ?? expectedBytes;
    this.#announcedBytes = sizeBytes;
    const ingest = await store.ingest(digest, sizeBytes).catch((error: unknown) => {
      body.body.destroy();
      throw error;
    });
    this.#ingest = ingest;
    this.#segments = segmentsOf(ingest, sizeBytes, policy);
    this.#refusesRanges ||= sizeBytes === undefined || !body.acceptsRanges;
    ingest.onWaiting = (position) => this.#demand(position);
    onSize(ingest, () => this.#open.resolve());
    if (sizeBytes === 0) {
      body.body.destroy();
      this.#idle.resolve();
    } else {
      const first = this.#segments.takeAll()!;
      this.#startLane(first, bodyFrom(body, first.position));
    }
    return ingest;
  }

  #startLane(segment: Segment, body: BlobBody | undefined): void {
    this.#laneTasks += 1;
    void this.#runLane(segment, body).finally(() => {
      this.#laneTasks -= 1;
      if (this.#laneTasks > 0) return;
      // What a lane gave back while the last other one ended is still to be brought.
      const rest = this.#failure === undefined ? this.#segments?.takeAll() : undefined;
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
        const isFatal = isLast || !isMirrorError(error) || error.code === 'DISK_FAILED';
        if (isFatal) this.#failure ??= error;
        else this.#refusesRanges ||= error.code === 'UPSTREAM_INVALID';
        this.#noMoreUntilMs = this.#parts.clock.monotonicMs() + noMoreMs;
        this.#leaveItToTheFirst();
        if (this.#failure !== undefined) this.#abort.abort(this.#failure);
        return;
      }
      segments.giveBack(segment);
      body = undefined;
      // Without ranges every transfer begins at byte 0: one then brings all that is missing.
      segment = this.#refusesRanges ? segments.takeAll() : segments.take(ingest.waitingPositions());
    }
  }

  /** Upstream ignores ranges, or refuses a connection more: its open GET, if it still runs, goes on. */
  #leaveItToTheFirst(): void {
    for (const lane of this.#lanes.values()) {
      if (lane.isOpenEnded) this.#segments?.extend(lane.segment);
    }
  }

  /** Brings one segment, over as many transfers as it takes while they make progress. */
  async #bring(segment: Segment, firstBody: BlobBody | undefined, ingest: Ingest): Promise<void> {
    let body = firstBody;
    for (let attempts = 0; segment.position < segment.end;) {
      const before = segment.position;
      try {
        body ??= await this.#fetch({ start: segment.position, end: segment.end });
        const hasLeft = await this.#pump(segment, body, ingest);
        if (segment.position < segment.end && !hasLeft) {
          throw new MirrorError('UPSTREAM_UNAVAILABLE', 'upstream closed the connection too early');
        }
      } catch (cause) {
        const error = ingest.failure ?? this.#abort.signal.reason ?? asUpstreamError(cause);
        const brought = segment.position - before;
        attempts = isProgress(brought, this.#announcedBytes ?? 0) ? 0 : attempts + 1;
        // One that brings nothing leaves its part to those that do; else another URL is asked first.
        if (attempts > 0 && this.#laneTasks > 1) throw error;
        if (attempts > 0) body?.distrust();
        await pauseAfter(this.#parts, { error, attempts, offset: segment.position }, this.#wait);
      }
      body = undefined;
    }
  }

  /** @returns whether it has let go for clients */
  async #pump(segment: Segment, body: BlobBody, ingest: Ingest): Promise<boolean> {
    const { clock, policy } = this.#parts;
    const { clientsFirst, bandwidth } = policy;
    const pace = (bytes: number): Promise<void> | undefined => {
      this.#fetchedBytes += bytes;
      const mayLeave = clientsFirst?.take(this.#priority(), lane.bytes) === true;
      // Without ranges it would begin at byte 0 again.
      if (mayLeave && !this.#refusesRanges) lane.leave();
      return bandwidth?.take(bytes, () => this.#priority(), this.#abort.signal);
    };
    const lane = new Lane({ segment, body, ingest, clock, pace });
    this.#lanes.set(segment, lane);
    await lane.pump().finally(() => this.#lanes.delete(segment));
    return lane.isLeaving;
  }

  /** A part; or the whole, once, where upstream answers wrongly to the last who asks for a part. */
  async #fetch(part: ByteRange | undefined): Promise<BlobBody> {
    try {
      return await this.#fetchOnce(part);
    } catch (error) {
      const isLastPart = part !== undefined && part.start > 0 && this.#laneTasks <= 1;
      if (!isLastPart || !isMirrorError(error, 'UPSTREAM_INVALID')) throw error;
      this.#refusesRanges = true;
      return this.#fetchOnce(undefined);
    }
  }

  async #fetchOnce(part: ByteRange | undefined): Promise<BlobBody> {
    const body = await fetchPart(this.#parts, part, this.#announcedBytes, this.#wait);
    this.#connections += 1;
    if (part === undefined || body.start === part.start) return body;
    this.#refusesRanges = true;
    if (this.#laneTasks <= 1) return body;
    body.body.destroy();
    throw new MirrorError('UPSTREAM_INVALID', 'upstream ignores Range requests');
  }

  /** What nobody waits for any more is at least nobody's hurry. */
  #priority(): Priority {
    return this.#audience.size > 0 ? 'client' : this.#parts.reason;
  }

  get #mayWiden(): boolean {
    if (this.#refusesRanges || this.#failure !== undefined) return false;
    return this.#parts.clock.monotonicMs() >= this.#noMoreUntilMs;
  }

  /** A reader waits: when its bytes would come late, another connection fetches them now. */
  #demand(position: number): void {
    if (!this.#mayWiden) return;
    // Even with one connection a blob, a range far ahead does not wait for the whole.
    if (this.#laneTasks >= Math.max(2, this.#parts.policy.connectionsPerBlob)) return;
    const segment = this.#segments!.bringerOf(position);
    const lane = segment === undefined ? undefined : this.#lanes.get(segment);
    if (segment !== undefined && segment.position <= position) {
      if (position - segment.position < chunkBytes) return;
      // A connection that has just begun is measured first; `look` comes back to this reader.
      if (lane === undefined || !lane.isMeasured) return;
      if (!isTooFarAhead(position - segment.position, lane.rate)) return;
    }
    const ahead = this.#segments!.takeAhead(position);
    if (ahead !== undefined) this.#startLane(ahead, undefined);
  }

  /** The regular look: silence, drip, readers that wait far ahead, and whether more connections pay. */
  #look(): void {
    for (const lane of this.#lanes.values()) lane.watch(this.#parts.policy);
    const ingest = this.#ingest;
    if (ingest === undefined || !this.#mayWiden) return;
    for (const position of ingest.waitingPositions()) this.#demand(position);
    this.#widen(ingest);
  }

  #widen(ingest: Ingest): void {
    const { connectionsPerBlob, bandwidth, clientsFirst } = this.#parts.policy;
    const priority = this.#priority();
    if (bandwidth?.isShortFor(priority) || clientsFirst?.isBusyFor(priority)) return;
    const lanes = [...this.#lanes.values()];
    const isMeasured = lanes.length === this.#laneTasks && lanes.every((lane) => lane.isMeasured);
    if (!isMeasured || lanes.length === 0) return;
    const rate = lanes.reduce((sum, lane) => sum + lane.rate, 0);
    const restBytes = ingest.sizeBytes - ingest.filledBytes;
    const { utilization } = performance.eventLoopUtilization(this.#loopAtStart);
    if (!paysToWiden(rate, restBytes, utilization)) return;
    while (this.#laneTasks < connectionsPerBlob) {
      const segment = this.#segments!.take([]) ?? this.#segments!.split();
      if (segment === undefined) return;
      this.#startLane(segment, undefined);
    }
  }

  /** What was not begun for a client never was for one. */
  #isWorthEnding(): boolean {
    if (this.#parts.reason !== 'client') return true;
    const filledBytes = this.#ingest?.filledBytes;
    return filledBytes !== undefined && isWorthEnding(filledBytes, this.#announcedBytes ?? 0);
  }

  #cancel(why: string): void {
    const message = `the fill of ${this.digest} was stopped: ${why}`;
    this.#failure ??= new MirrorError('CANCELLED', message);
    this.#abort.abort(this.#failure);
    for (const lane of this.#lanes.values()) lane.break(why);
  }
}

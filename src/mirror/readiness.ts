import type { Clock } from '../base/clock.ts';
import type { Disk } from '../store/disk.ts';
import { writeSample } from '../store/examine-disk.ts';

/** A probe a second from several places must not write to the disk each time. */
const diskSeenForMs = 5_000;

/** A network file system that hangs answers nothing at all. */
const diskAnswersWithinMs = 2_000;

export interface ReadinessAnswer {
  /** Whether clients should be sent here. */
  readonly isReady: boolean;
  /** Why not. */
  readonly reasons: readonly string[];
  /** What works less well than it should; clients are served all the same. */
  readonly warnings: readonly string[];
}

interface ReadinessParts {
  readonly disk: Disk;
  /** Of this format of the storage. */
  readonly folder: string;
  readonly clock: Clock;
  /** Ends when the disk has been counted. */
  readonly counted: Promise<void>;
  readonly upstreams: () => readonly {
    readonly registry: string;
    readonly isDown: boolean;
    readonly isOffline: boolean;
  }[];
}

/**
 * Whether clients should be sent here. Not when it is shutting down, and not when the disk refuses to be
 * written, since every client would then cost upstream a transfer. Upstreams that do not answer and a
 * disk that is still being counted are no reason: what is cached is served.
 */
export class Readiness {
  readonly #parts: ReadinessParts;
  #isClosing = false;
  #isCounted = false;
  #probe: DiskProbe | undefined;

  constructor(parts: ReadinessParts) {
    this.#parts = parts;
    void parts.counted.then(() => {
      this.#isCounted = true;
    });
  }

  /** From now on it is shutting down. */
  close(): void {
    this.#isClosing = true;
  }

  async look(): Promise<ReadinessAnswer> {
    const reasons: string[] = [];
    if (this.#isClosing) reasons.push('the mirror is shutting down');
    const fault = this.#isClosing ? undefined : await this.#diskFault();
    if (fault !== undefined) reasons.push(fault);
    const warnings = this.#parts
      .upstreams()
      .filter(({ isDown, isOffline }) => isDown && !isOffline)
      .map(({ registry }) => `upstream ${registry} does not answer; what is cached is served`);
    if (!this.#isCounted) {
      warnings.push('the disk is still being counted; nothing is evicted until it is');
    }
    return { isReady: reasons.length === 0, reasons, warnings };
  }

  /** Looked at once for all who ask within a while; a look that hangs is not followed by another. */
  async #diskFault(): Promise<string | undefined> {
    const { disk, folder, clock } = this.#parts;
    const now = clock.monotonicMs();
    let probe = this.#probe;
    if (probe === undefined || (probe.hasEnded && now - probe.startMs > diskSeenForMs)) {
      probe = startProbe(disk, folder, now);
      this.#probe = probe;
    }
    const { promise: late, resolve } = Promise.withResolvers<string>();
    const seconds = diskAnswersWithinMs / 1000;
    const timer = setTimeout(
      () => resolve(`the cache disk (${folder}) has not taken a file within ${seconds} s`),
      Math.max(0, probe.startMs + diskAnswersWithinMs - now),
    );
    try {
      return await Promise.race([probe.fault, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** One look at the disk. */
interface DiskProbe {
  readonly startMs: number;
  readonly fault: Promise<string | undefined>;
  hasEnded: boolean;
}

function startProbe(disk: Disk, folder: string, startMs: number): DiskProbe {
  const fault = writeSample(disk, folder).then(
    (isSame) =>
      isSame ? undefined : `the cache disk (${folder}) gives back other bytes than it was given`,
    (error: Error) => `the cache disk (${folder}) refuses to be written: ${error.message}`,
  );
  const probe: DiskProbe = { startMs, fault, hasEnded: false };
  void fault.then(() => {
    probe.hasEnded = true;
  });
  return probe;
}

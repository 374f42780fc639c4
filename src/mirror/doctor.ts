import type { Finding } from '../base/finding.ts';
import { examineDisk } from '../store/examine-disk.ts';
import type { Disk } from '../store/disk.ts';
import type { Names } from '../store/names.ts';
import {
  examineUpstream,
  publicCheckImages,
  type CheckImage,
  type Examinable,
} from '../upstream/examination/upstream.ts';

/** Repositories that are looked through for a tag to check an upstream by. */
const lookedThroughMax = 1_000;

/** Between registries and this machine: more, and tokens and certificates may be refused. */
const clockWarningMs = 30_000;
const clockFailureMs = 5 * 60_000;

/** What was found, what is to mend first. */
export interface Diagnosis {
  /** Whether nothing failed; there may be warnings. */
  readonly isWell: boolean;
  readonly findings: readonly Finding[];
}

interface DoctorParts {
  readonly disk: Disk;
  /** Of this format of the storage. */
  readonly folder: string;
  readonly minFreeBytes: (totalBytes: number) => number;
  readonly names: Names;
  readonly upstreams: () => readonly Examinable[];
}

/** Looks at all that the mirror depends on: disk, clock, and each upstream. Changes nothing. */
export class Doctor {
  readonly #parts: DoctorParts;
  #running: Promise<Diagnosis> | undefined;

  constructor(parts: DoctorParts) {
    this.#parts = parts;
  }

  /** Who asks while it looks gets the same diagnosis: it costs each upstream a few requests. */
  examine(): Promise<Diagnosis> {
    this.#running ??= this.#examine().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #examine(): Promise<Diagnosis> {
    const { disk, folder, minFreeBytes } = this.#parts;
    const upstreams = this.#parts.upstreams();
    const ofDisk = await examineDisk(disk, folder, minFreeBytes);
    const images = await this.#checkImages(upstreams);
    const examinations = await Promise.all(
      upstreams.map((one) => examineUpstream(one, images.get(one.upstream.registry))),
    );
    const clock = judgeClock(examinations.flatMap(({ clockAheadMs }) => clockAheadMs));
    const findings = [...ofDisk, clock, ...examinations.flatMap((one) => one.findings)];
    return { isWell: findings.every(({ state }) => state !== 'failed'), findings };
  }

  /** A tag of each upstream: one that is cached here, since that is what matters, or a public one. */
  async #checkImages(upstreams: readonly Examinable[]): Promise<Map<string, CheckImage>> {
    const found = new Map<string, CheckImage>();
    const wanted = new Set(upstreams.map(({ upstream }) => upstream.registry));
    let looked = 0;
    for await (const repository of this.#parts.names.links.repositories()) {
      looked += 1;
      if (looked > lookedThroughMax || found.size === wanted.size) break;
      const { registry, name } = repository;
      if (found.has(registry) || !wanted.has(registry)) continue;
      for await (const { tag } of this.#parts.names.tags.walk(repository)) {
        found.set(registry, { name, tag });
        break;
      }
    }
    for (const registry of wanted) {
      const image = found.get(registry) ?? publicCheckImages[registry];
      if (image !== undefined) found.set(registry, image);
    }
    return found;
  }
}

/** @param aheadMs how far each registry that answered is ahead of us */
function judgeClock(aheadMs: readonly number[]): Finding {
  const about = { check: 'clock', subject: 'this machine' } as const;
  const sorted = aheadMs.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  if (median === undefined) {
    return { ...about, state: 'skipped', seen: 'no upstream said what time it is' };
  }
  const seconds = Math.round(Math.abs(median) / 1000);
  const seen =
    Math.abs(median) < 2_000
      ? 'shows the same time as the upstreams'
      : `is ${seconds} s ${median > 0 ? 'behind' : 'ahead of'} the upstreams`;
  if (Math.abs(median) < clockWarningMs) return { ...about, state: 'ok', seen };
  const mend =
    'set the clock and keep it right (NTP, chrony): certificates and tokens depend on it';
  return { ...about, state: Math.abs(median) < clockFailureMs ? 'warning' : 'failed', seen, mend };
}

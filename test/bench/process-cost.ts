import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Linux counts in these for all programs: sysconf(_SC_CLK_TCK). */
const ticksPerSecond = 100;

interface ProcessStat {
  readonly parent: number;
  readonly cpuSeconds: number;
}

/** Processor time, user and system, of a process and its living descendants so far. */
export function cpuSecondsOf(pid: number): number {
  const stats = new Map<number, ProcessStat>();
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? statOf(name) : undefined;
    if (stat !== undefined) stats.set(Number(name), stat);
  }
  const isOurs = (candidate: number): boolean =>
    candidate === pid || (candidate > 1 && isOurs(stats.get(candidate)?.parent ?? 0));
  let total = 0;
  for (const [candidate, { cpuSeconds }] of stats) if (isOurs(candidate)) total += cpuSeconds;
  return total;
}

function statOf(pid: string): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program, in parentheses, may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { parent: Number(fields[1]), cpuSeconds: ticks / ticksPerSecond };
  } catch {
    // It ended since the folder was listed.
    return undefined;
  }
}

/** Resolves when a process and its descendants have hardly run for 300 ms. */
export async function untilQuiet(pid: number): Promise<void> {
  const quietSeconds = 0.02;
  for (let before = -1, now = cpuSecondsOf(pid); now - before > quietSeconds;) {
    before = now;
    await sleep(300);
    now = cpuSecondsOf(pid);
  }
}

/** Resident memory of one process, in MiB. */
export function residentMibOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) / 1024;
}

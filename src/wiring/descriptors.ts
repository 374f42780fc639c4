import fs from 'node:fs';

/** As many blob files stay open for the next reader where the process may open plenty. */
const keptFilesMax = 256;

/** The program itself, its databases, and connections to upstreams. */
const reservedMin = 64;

/** Fewer are no use, however few descriptors there are: a pull takes several at once. */
const clientsMin = 8;

/** How the files and sockets that a process may have open at once are shared out. */
export interface DescriptorShares {
  /** Blob files that stay open for the next reader. */
  readonly keptFiles: number;
  /** Connections of clients; more are refused. */
  readonly clients: number;
}

/**
 * An eighth, or 64, is reserved. The rest is for clients, each with its connection and the file that it
 * reads: 96 of a limit of 256, and 448 of one of 1,024. Half as many files are kept, which are closed
 * when another one is to be opened and there is no room.
 * @param limit undefined when nobody knows
 */
export function shareDescriptors(limit: number | undefined): DescriptorShares {
  if (limit === undefined) return { keptFiles: keptFilesMax, clients: Infinity };
  const reserved = Math.max(reservedMin, limit >> 3);
  const clients = Math.max(clientsMin, (limit - reserved) >> 1);
  return { keptFiles: Math.min(keptFilesMax, clients >> 1), clients };
}

/** Of this process, as proc(5) has it; undefined elsewhere than on Linux, and when there is none. */
export function readDescriptorLimit(): number | undefined {
  try {
    const [, soft] =
      /^Max open files +(\d+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

import { readFileSync } from 'node:fs';
import { makeImage, makeIndex } from '../kit/images.ts';
import { findProgram } from '../kit/program.ts';

const MiB = 1024 * 1024;

/** Names that no public registry has: a pull that misses the mirror fails instead of passing for one. */
export const smallName = 'library/entrepot-small';
export const largeName = 'library/entrepot-large';

/** A root file system that runs: a static busybox, and a file beside it. Docker media types. */
export function makeSmall() {
  const busybox = findProgram('busybox');
  if (busybox === undefined) throw new Error('busybox is not installed: ask requireProgram first');
  const root = [
    { name: 'bin/busybox', bytes: readFileSync(busybox), mode: 0o755 },
    { name: 'bin/sh', linkTo: 'busybox' },
  ];
  return makeImage({ seed: 'small', layers: [root, 1000], docker: true });
}

/** An index for two platforms, three layers of 24 MiB each for the first. OCI media types. */
export function makeLarge(seed = 'large') {
  const here = makeImage({
    seed,
    layers: [24 * MiB, 24 * MiB, 24 * MiB],
    platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
  });
  const elsewhere = makeImage({ seed: `${seed}-s390x`, layers: [MiB], platform: 'linux/s390x' });
  return { index: makeIndex([here, elsewhere]), here, elsewhere };
}

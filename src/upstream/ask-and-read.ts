import { isMirrorError } from '../oci/errors.ts';
import type { EndpointAnswer } from './endpoints.ts';

/** One that breaks off later has cost its client a wait already. */
const soonMs = 1_000;

/**
 * An answer, and what is read of it at once. Where its body breaks off soon it is asked for once more, of
 * another URL when there is one; where it is no answer of a registry, such as a web page, only then.
 */
export async function askAndRead<T>(
  ask: () => Promise<EndpointAnswer>,
  read: (answer: EndpointAnswer) => Promise<T>,
): Promise<T> {
  const answer = await ask();
  const startMs = performance.now();
  try {
    return await read(answer);
  } catch (error) {
    const hasBrokenOff = isBrokenOff(error);
    if (!hasBrokenOff && !isMirrorError(error, 'UPSTREAM_INVALID')) throw error;
    const isThereAnother = answer.distrust();
    const isSoon = performance.now() - startMs <= soonMs;
    if (!isSoon || (!hasBrokenOff && !isThereAnother)) throw error;
    return read(await ask());
  }
}

/** And no refusal, which has a status. */
function isBrokenOff(error: unknown): boolean {
  return isMirrorError(error, 'UPSTREAM_UNAVAILABLE') && error.detail?.['status'] === undefined;
}

import { listenText, type Listen } from '../config/scalars.ts';
import { MirrorError } from '../oci/errors.ts';

/** The mirror cannot start, for a reason that whoever starts it can see to; the message says which. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure';
}

/**
 * What a person is told of a start that failed; undefined for what is no fault of the surroundings, but
 * a bug.
 */
export function findStartFailure(error: unknown): string | undefined {
  const isOrdinary = error instanceof StartFailure || error instanceof MirrorError;
  return isOrdinary ? error.message : undefined;
}

/**
 * Lets a server listen where a setting says.
 * @throws StartFailure
 */
export async function listenAt(
  setting: string,
  server: { listen(listen: Listen): Promise<unknown> },
  listen: Listen,
): Promise<void> {
  try {
    await server.listen(listen);
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    const where = listenText(listen);
    throw new StartFailure(
      `${setting}: ${where} cannot be listened on: ${reasons[code] ?? message}`,
      { cause },
    );
  }
}

/** Node's codes: errno of bind(2), and of the look-up of the host. */
const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there; stop it, or choose another port',
  EACCES: 'this user may not have that port; choose one from 1024 on, or grant the right to it',
  EADDRNOTAVAIL:
    'this machine has no such address; choose one that it has, or 0.0.0.0 for all of them',
  ENOTFOUND: 'no address is known of that host; write one, or 0.0.0.0 for all of this machine',
};

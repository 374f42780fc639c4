import { createHash } from 'node:crypto';
import type { Credentials } from './tokens.ts';

/** Who an upstream is asked as, when no login is configured. */
const anonymous = 'anonymous';

/** The name under which an account is shown to the operator. */
export function accountName(credentials: Credentials | undefined): string {
  return credentials?.username ?? anonymous;
}

/**
 * Tells logins apart where answers are kept by login, so that none is given what another was told.
 * Nothing can be read from it.
 */
export function accountKey(credentials: Credentials | undefined): string {
  if (credentials === undefined) return anonymous;
  const { username, password } = credentials;
  return createHash('sha256').update(`${username}:${password}`).digest('base64');
}

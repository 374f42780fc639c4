import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { Text } from '../text/english.ts';
import { formatOf, type Format } from '../text/format.ts';
import type { AdminApi } from './admin-api.ts';
import type { Live } from './live.ts';
import type { Preferences } from './preferences.ts';
import type { Route } from './route.ts';

/** What every part of the page may use. */
export interface Session {
  readonly api: AdminApi;
  readonly live: Live;
  readonly preferences: Preferences;
  readonly route: Route;
}

export const SessionContext = createContext<Session | undefined>(undefined);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === undefined) throw new Error('rendered outside of a session');
  return session;
}

/** What is said, in the language of the person. */
export function useText(): Text {
  return useSession().preferences.text.value;
}

/** Numbers, sizes and times as that language writes them. */
export function useFormat(): Format {
  return formatOf(useSession().preferences.language.value);
}

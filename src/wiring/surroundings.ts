import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import type { Observe } from '../base/events.ts';
import type { UpstreamConfig } from '../config/schema.ts';
import type { LinkStore } from '../store/names.ts';
import type { TlsMaterial } from '../upstream/network/connections.ts';

/** What upstreams and the primary need of the rest of the process. */
export interface UpstreamSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly clock: Clock;
  readonly observe: Observe;
  readonly links: LinkStore;
}

/** Certificates of a setting, read at each call: what is renewed is used by the next connection. */
export function tlsOf({ tls }: Pick<UpstreamConfig, 'tls'>): () => Promise<TlsMaterial> {
  const read = async (path: string | undefined): Promise<string | undefined> =>
    path === undefined ? undefined : readFile(path, 'utf8');
  return async () => ({
    ca: await read(tls?.ca),
    cert: await read(tls?.cert),
    key: await read(tls?.key),
    insecure: tls?.insecure ?? false,
  });
}

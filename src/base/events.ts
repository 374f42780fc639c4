import type { ConfigEvent } from './events/config.ts';
import type { FillEvent } from './events/fill.ts';
import type { LimitEvent } from './events/limits.ts';
import type { RequestEvent } from './events/request.ts';
import type { RunEvent } from './events/run.ts';
import type { StoreEvent } from './events/store.ts';
import type { UpstreamEvent } from './events/upstream.ts';

export type { Outcome, RequestEvent } from './events/request.ts';

/**
 * The facts that parts below `app` state, a file for each room that states them. Logs, metrics and the
 * admin pages are consumers; no part imports a logger. Times in milliseconds, sizes in bytes.
 */
export type Event =
  | RequestEvent
  | FillEvent
  | UpstreamEvent
  | LimitEvent
  | StoreEvent
  | RunEvent
  | ConfigEvent
  | {
      /** Of clients, for want of descriptors; so many since it was last told. */
      readonly kind: 'clients-refused';
      readonly connections: number;
      readonly max: number;
    }
  | { readonly kind: 'bug'; readonly where: string; readonly error: unknown };

export type Observe = (event: Event) => void;

import { join } from 'node:path';
import { startApp, type App } from '../../src/app.ts';
import type { Event } from '../../src/base/events.ts';
import { parseConfig } from '../../src/config/load.ts';
import type { Disk } from '../../src/store/disk.ts';
import type { ScriptedRegistry } from './scripted-registry.ts';
import { temporaryFolder } from './temporary-folder.ts';

type EventOf<K extends Event['kind']> = Extract<Event, { kind: K }>;

/** A whole mirror in this process, on ports of its own, with everything that it observed. */
export interface TestMirror extends AsyncDisposable {
  readonly app: App;
  readonly url: string;
  readonly adminUrl: string;
  readonly storagePath: string;
  readonly events: readonly Event[];
  observedOf<K extends Event['kind']>(kind: K): EventOf<K>[];
  /** Resolves with the first event of that kind that fits, past ones included. */
  observed<K extends Event['kind']>(
    kind: K,
    fits?: (event: EventOf<K>) => boolean,
  ): Promise<EventOf<K>>;
  /**
   * Ends it and starts it again on the same storage; the port is another one.
   * @param changes of the top level of the configuration
   */
  restart(changes?: Readonly<Record<string, unknown>>): Promise<void>;
}

export interface TestMirrorOptions {
  /** The upstream that stands for docker.io. */
  readonly upstream: ScriptedRegistry;
  /** Settings of that upstream beside its URL. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** More of the configuration; `upstreams` are added to docker.io. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly disk?: Disk;
  /** Nothing of this process' own environment is seen. */
  readonly env?: Readonly<Record<string, string>>;
}

export async function startMirror(options: TestMirrorOptions): Promise<TestMirror> {
  const folder = await temporaryFolder();
  const storagePath = join(folder.path, 'storage');
  const events: Event[] = [];
  const listeners = new Set<() => void>();
  const { upstreams, storage, ...rest } = { ...options.config } as Record<
    string,
    object | undefined
  >;
  let given: Readonly<Record<string, unknown>> = {
    registry: { listen: '127.0.0.1:0' },
    admin: { listen: '127.0.0.1:0' },
    storage: { path: storagePath, minFree: '0', ...storage },
    upstreams: {
      'docker.io': { urls: [options.upstream.url], ...options.settings },
      ...upstreams,
    },
    defaultUpstream: 'docker.io',
    ...rest,
  };
  const start = (): Promise<App> =>
    startApp(parseConfig(JSON.stringify(given), 'test.yaml', {}), {
      env: options.env ?? {},
      version: 'test',
      logLevel: { get: () => 'info', set: () => {} },
      observe: (event) => {
        events.push(event);
        for (const listener of listeners) listener();
      },
      ...(options.disk === undefined ? {} : { disk: options.disk }),
    });
  let app = await start();
  const observedOf = <K extends Event['kind']>(kind: K): EventOf<K>[] =>
    events.filter((event): event is EventOf<K> => event.kind === kind);
  return {
    get app() {
      return app;
    },
    get url() {
      return app.registryUrl;
    },
    get adminUrl() {
      return app.adminUrl;
    },
    storagePath,
    events,
    observedOf,
    observed: (kind, fits = () => true) => {
      const { promise, resolve } = Promise.withResolvers<EventOf<typeof kind>>();
      const look = (): void => {
        const found = observedOf(kind).find((event) => fits(event));
        if (found === undefined) return;
        listeners.delete(look);
        resolve(found);
      };
      listeners.add(look);
      look();
      return promise;
    },
    restart: async (changes = {}) => {
      given = { ...given, ...changes };
      await app.close();
      app = await start();
    },
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

import { resolve } from 'node:path';
import { ConfigError, type ConfigSource } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { FileWatch } from '../config/watch.ts';
import type { App } from '../app.ts';

/** A door, as far as it keeps its certificate in files. */
interface Door {
  readonly listen: unknown;
  readonly tls?: Config['registry']['tls'];
}

/** Reads the configuration anew when it is told to, or when a file has changed that it stands in or names. */
export class Reloading {
  readonly #source: ConfigSource;
  readonly #app: Pick<App, 'reload' | 'observe'>;
  readonly #watch = new FileWatch(() => void this.reload('file'));
  /** One after the other: the last that was read is the one in effect. */
  #turn: Promise<void> = Promise.resolve();

  constructor(source: ConfigSource, app: Pick<App, 'reload' | 'observe'>) {
    this.#source = source;
    this.#app = app;
  }

  /** @param config the one that the mirror was started with */
  start(config: Config): Promise<void> {
    return this.#watch.watch(this.#filesOf(config));
  }

  /** Never rejects: what is wrong with the new configuration is stated, and the old one goes on. */
  reload(trigger: 'signal' | 'file'): Promise<void> {
    this.#turn = this.#turn.then(() => this.#reload(trigger));
    return this.#turn;
  }

  async close(): Promise<void> {
    await this.#watch.close();
    await this.#turn;
  }

  async #reload(trigger: 'signal' | 'file'): Promise<void> {
    try {
      const next = await this.#source.load();
      const { inEffect, atRestart } = await this.#app.reload(next);
      const changes = inEffect.length + atRestart.length;
      this.#app.observe({ kind: 'config-read', trigger, changes });
      for (const change of inEffect) {
        this.#app.observe({ kind: 'setting-changed', ...change, isInEffect: true });
      }
      for (const change of atRestart) {
        this.#app.observe({ kind: 'setting-changed', ...change, isInEffect: false });
      }
      await this.#watch.watch(this.#filesOf(next));
    } catch (error) {
      const problems = error instanceof ConfigError ? error.message.split('\n') : [textOf(error)];
      for (const problem of problems) this.#app.observe({ kind: 'config-refused', problem });
    }
  }

  #filesOf({ registry, admin }: Config): string[] {
    const doors: readonly Door[] = [registry, admin];
    const certificates = doors.flatMap(({ tls }) => [tls?.cert, tls?.key, tls?.clientCa]);
    const token = admin.token !== undefined && 'file' in admin.token ? admin.token.file : undefined;
    return [this.#source.file, ...certificates, token]
      .filter((file) => file !== undefined)
      .map((file) => resolve(file));
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

import { changesBetween, withoutRestart, type SettingChange } from '../config/changes.ts';
import type { Config } from '../config/schema.ts';

/**
 * One part that can follow the configuration: reads and builds what it needs, which may fail, and
 * answers what puts it in place, which may not.
 */
export type Prepare = (next: Config, before: Config) => Promise<() => void>;

export interface Reloaded {
  readonly inEffect: readonly SettingChange[];
  /** What takes a restart. */
  readonly atRestart: readonly SettingChange[];
}

/**
 * The configuration in effect. A new one is taken as a whole or not at all: every part prepares, then
 * all change at once.
 */
export class LiveConfig {
  #current: Config;
  readonly #parts: Prepare[] = [];

  constructor(config: Config) {
    this.#current = config;
  }

  get current(): Config {
    return this.#current;
  }

  follow(prepare: Prepare): void {
    this.#parts.push(prepare);
  }

  /** @throws what a part throws that cannot follow; nothing has changed then */
  async apply(next: Config): Promise<Reloaded> {
    const before = this.#current;
    const effective = withoutRestart(next, before);
    const commits: (() => void)[] = [];
    for (const prepare of this.#parts) commits.push(await prepare(effective, before));
    this.#current = effective;
    for (const commit of commits) commit();
    return {
      inEffect: changesBetween(before, effective),
      atRestart: changesBetween(effective, next),
    };
  }
}

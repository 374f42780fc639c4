import { execFile } from 'node:child_process';

type Environment = Readonly<Record<string, string | undefined>>;

/** A word that is not taken by then is lost; the next one comes. */
const wordTimeoutMs = 10_000;

/**
 * Tells systemd how the service is (sd_notify), through its own `systemd-notify`: Node sends no
 * datagrams to unix sockets. The unit has `Type=notify` and `NotifyAccess=all`. Elsewhere, where
 * NOTIFY_SOCKET is not set, nothing is done.
 */
export class ServiceManager {
  readonly #isThere: boolean;
  readonly #watchdogMs: number | undefined;
  readonly #failed: (error: Error) => void;
  #watchdog: NodeJS.Timeout | undefined;

  /** @param failed told why a word did not reach systemd */
  constructor(env: Environment, failed: (error: Error) => void) {
    this.#isThere = (env['NOTIFY_SOCKET'] ?? '') !== '';
    const watchdogMs = Number(env['WATCHDOG_USEC']) / 1000;
    this.#watchdogMs = watchdogMs > 0 ? watchdogMs : undefined;
    this.#failed = failed;
  }

  /** It serves. From now on it says that it is alive, as often as the unit's WatchdogSec asks. */
  async ready(status: string): Promise<void> {
    await this.#tell('--ready', `--status=${status}`);
    if (!this.#isThere || this.#watchdogMs === undefined) return;
    // Half the time, as sd_watchdog_enabled(3) advises. An event loop that is stuck tells nothing.
    this.#watchdog = setInterval(() => void this.#tell('WATCHDOG=1'), this.#watchdogMs / 2);
    this.#watchdog.unref();
  }

  async stopping(): Promise<void> {
    await this.#tell('STOPPING=1', '--status=shutting down: running downloads may end');
  }

  close(): void {
    clearInterval(this.#watchdog);
  }

  async #tell(...words: string[]): Promise<void> {
    if (!this.#isThere) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    execFile('systemd-notify', words, { timeout: wordTimeoutMs }, (error) => {
      if (error !== null) this.#failed(error);
      resolve();
    });
    await promise;
  }
}

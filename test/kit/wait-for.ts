import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Polls until `condition` gives a value that is neither undefined nor false. For other processes only:
 * inside one process a test waits on a promise.
 * @throws Error naming `what` when the time is over
 */
export async function until<Value>(
  what: string,
  condition: () => Value | Promise<Value>,
  options: { readonly timeoutMs?: number; readonly everyMs?: number } = {},
): Promise<Exclude<Value, undefined | false>> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value as Exclude<Value, undefined | false>;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await sleep(options.everyMs ?? 5);
  }
}

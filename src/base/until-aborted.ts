/** What is awaited, or the signal's reason as soon as it is aborted; what was awaited goes on for others. */
export async function untilAborted<T>(awaited: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', leave, { once: true });
  // It may fail later, when nobody looks any more.
  awaited.catch(() => {});
  try {
    signal.throwIfAborted();
    return await Promise.race([awaited, promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

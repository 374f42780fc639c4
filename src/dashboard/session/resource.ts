import { useCallback, useEffect, useState } from 'preact/hooks';
import { apiErrorOf, type ApiError } from './admin-api.ts';

/** Something of the server's: the last that was had of it, and why there is nothing newer. */
export interface Resource<T> {
  readonly value: T | undefined;
  readonly error: ApiError | undefined;
  readonly refresh: () => void;
}

/**
 * Loads when the component appears and when `key` changes, then again every `everyMs`, and when it is
 * told to. While a load runs, the value before stays; with another key it is gone.
 */
export function useResource<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  everyMs?: number,
): Resource<T> {
  const [state, setState] = useState<{ key: string; value?: T; error?: ApiError }>({ key });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    let timer: number | undefined;
    const look = async (): Promise<void> => {
      try {
        const value = await load(gone.signal);
        if (!gone.signal.aborted) setState({ key, value });
      } catch (error) {
        if (gone.signal.aborted) return;
        setState((before) => ({
          ...(before.key === key ? before : { key }),
          error: apiErrorOf(error),
        }));
      }
      if (everyMs !== undefined && !gone.signal.aborted) {
        timer = window.setTimeout(() => void look(), everyMs);
      }
    };
    void look();
    return () => {
      gone.abort();
      clearTimeout(timer);
    };
  }, [key, everyMs, round]);
  const refresh = useCallback(() => setRound((before) => before + 1), []);
  const isCurrent = state.key === key;
  return {
    value: isCurrent ? state.value : undefined,
    error: isCurrent ? state.error : undefined,
    refresh,
  };
}

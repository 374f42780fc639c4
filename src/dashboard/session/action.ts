import { useCallback, useState } from 'preact/hooks';
import { apiErrorOf, type ApiError } from './admin-api.ts';

/** Something that a person lets the server do: whether it is under way, and why it failed. */
export interface Action {
  readonly isBusy: boolean;
  readonly error: ApiError | undefined;
  /** One at a time: while it is busy, nothing more begins. */
  readonly run: (work: () => Promise<void>) => void;
}

export function useAction(): Action {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | undefined>(undefined);
  const run = useCallback((work: () => Promise<void>): void => {
    const perform = async (): Promise<void> => {
      setBusy(true);
      setError(undefined);
      try {
        await work();
      } catch (failure) {
        setError(apiErrorOf(failure));
      }
      setBusy(false);
    };
    void perform();
  }, []);
  return { isBusy, error, run };
}

import { useEffect, useState } from 'preact/hooks';
import type { RunWithLog } from '../../api/runs.ts';
import { apiErrorOf, type ApiError } from './admin-api.ts';
import { useSession } from './context.tsx';

/** A run as it goes: the server tells of each change until it has ended. */
export function useRun(id: string): { run: RunWithLog | undefined; error: ApiError | undefined } {
  const { api } = useSession();
  const [run, setRun] = useState<RunWithLog | undefined>(undefined);
  const [error, setError] = useState<ApiError | undefined>(undefined);
  useEffect(() => {
    const gone = new AbortController();
    const follow = async (): Promise<void> => {
      try {
        await api.follow(
          `runs/${encodeURIComponent(id)}/events`,
          ({ data }) => setRun(JSON.parse(data) as RunWithLog),
          gone.signal,
        );
      } catch (failure) {
        if (!gone.signal.aborted) setError(apiErrorOf(failure));
      }
    };
    void follow();
    return () => gone.abort();
  }, [api, id]);
  return { run: run?.id === id ? run : undefined, error };
}

/** Whether nothing more will happen to it. */
export function isOver({ endedAt }: Pick<RunWithLog, 'endedAt'>): boolean {
  return endedAt !== null;
}

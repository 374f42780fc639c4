import { useState } from 'preact/hooks';
import type { PageOf } from '../../api/common.ts';
import { apiErrorOf, type ApiError } from './admin-api.ts';
import { useResource, type Resource } from './resource.ts';

export interface Listing<T> extends Resource<readonly T[]> {
  /** Asks for one more page; undefined when there is none. */
  readonly more: (() => void) | undefined;
}

/** A list of the server's, page by page: the first at once, the others when asked for. */
export function useListing<T>(
  key: string,
  load: (after: string | undefined, signal?: AbortSignal) => Promise<PageOf<T>>,
): Listing<T> {
  const first = useResource(key, (signal) => load(undefined, signal));
  const [further, setFurther] = useState<{
    readonly of: PageOf<T> | undefined;
    readonly pages: readonly PageOf<T>[];
    readonly error?: ApiError;
  }>({ of: undefined, pages: [] });
  // Pages that followed another first page are of a list that is gone.
  const current = further.of === first.value ? further : { of: first.value, pages: [] };
  const pages = first.value === undefined ? [] : [first.value, ...current.pages];
  const next = pages.at(-1)?.next ?? null;
  const more = async (after: string): Promise<void> => {
    try {
      const page = await load(after);
      setFurther({ of: first.value, pages: [...current.pages, page] });
    } catch (error) {
      setFurther({ ...current, error: apiErrorOf(error) });
    }
  };
  return {
    value: first.value === undefined ? undefined : pages.flatMap(({ items }) => items),
    error: first.error ?? ('error' in current ? current.error : undefined),
    refresh: first.refresh,
    more: next === null ? undefined : () => void more(next),
  };
}

import { useText } from '../session/context.tsx';
import type { Listing } from '../session/listing.ts';

/** The button that shows more of a list, when there is more. */
export function More<T>({ of }: { readonly of: Listing<T> }) {
  const text = useText().common;
  return (
    of.more !== undefined && (
      <button type="button" onClick={of.more}>
        {text.more}
      </button>
    )
  );
}

import type { ComponentChildren } from 'preact';
import type { ApiError } from '../session/admin-api.ts';
import { useText } from '../session/context.tsx';

/** What went wrong, and what to do. */
export function ErrorNotice(props: { readonly error: ApiError; readonly retry?: () => void }) {
  const text = useText().common;
  const { error, retry } = props;
  return (
    <div class="notice bad" role="alert">
      <p>
        <strong>{error.status === 0 ? text.unreachable : text.failed}</strong> {error.message}
      </p>
      {error.detail !== undefined && <p class="detail">{error.detail}</p>}
      {retry !== undefined && (
        <button type="button" onClick={retry}>
          {text.retry}
        </button>
      )}
    </div>
  );
}

/** Why there is nothing to see here. */
export function Empty({ children }: { readonly children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Loading() {
  return <p class="empty">{useText().common.loading}</p>;
}

/** What was done. */
export function DoneNotice({ children }: { readonly children: ComponentChildren }) {
  return (
    <div class="notice good" role="status">
      {children}
    </div>
  );
}

import { useSignal } from '@preact/signals';
import { useText } from '../session/context.tsx';

/** Text to take away. */
export function Snippet({ text, label }: { readonly text: string; readonly label: string }) {
  const { common } = useText();
  const isCopied = useSignal(false);
  // Only pages of https and of loopback may write to the clipboard.
  const canCopy = typeof navigator.clipboard?.writeText === 'function';
  return (
    <div class="snippet">
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- scrolled by keys */}
      <pre tabIndex={0} role="region" aria-label={label}>
        {text}
      </pre>
      {canCopy && (
        <button
          type="button"
          class="small"
          onClick={() => {
            void navigator.clipboard.writeText(text).then(() => {
              isCopied.value = true;
            });
          }}
        >
          <span aria-live="polite">{isCopied.value ? common.copied : common.copy}</span>
        </button>
      )}
    </div>
  );
}

import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

/** A control with its name and a word of help. */
export function Field(props: {
  readonly label: string;
  readonly hint: string;
  /** @param hintId what describes the control */
  readonly children: (hintId: string) => ComponentChildren;
}) {
  const hintId = useId();
  return (
    <div class="field">
      <label>
        <span>{props.label}</span>
        {props.children(hintId)}
      </label>
      <small id={hintId}>{props.hint}</small>
    </div>
  );
}

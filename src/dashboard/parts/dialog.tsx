import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';

/** A question above the page; Escape closes it, and the focus goes back to where it was. */
export function Dialog(props: {
  readonly title: string;
  readonly closed: () => void;
  /** @param close as Escape does */
  readonly children: (close: () => void) => ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const isOver = useRef(false);
  const title = useId();
  useEffect(() => dialog.current?.showModal(), []);
  // At once, and once: the event of the browser comes later, when it may be open again already.
  const close = (): void => {
    if (isOver.current) return;
    isOver.current = true;
    dialog.current?.close();
    props.closed();
  };
  return (
    <dialog
      ref={dialog}
      aria-labelledby={title}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClose={close}
    >
      <h2 id={title}>{props.title}</h2>
      {props.children(close)}
    </dialog>
  );
}

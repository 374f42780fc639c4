import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

/** The heading of a page, which names the tab too, and is focused when a link led to it. */
export function PageTitle(props: {
  readonly children: ComponentChildren;
  /** Stands beside it. */
  readonly aside?: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${heading.current?.textContent} – Entrepot`;
  });
  return (
    <div class="page-title">
      <h1 ref={heading} tabIndex={-1}>
        {props.children}
      </h1>
      {props.aside}
    </div>
  );
}

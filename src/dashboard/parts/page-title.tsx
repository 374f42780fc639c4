import type { ComponentChildren } from 'preact';

/** The heading of a page, which is focused when a link led to it. */
export function PageTitle(props: {
  readonly children: ComponentChildren;
  /** Stands beside it. */
  readonly aside?: ComponentChildren;
}) {
  return (
    <div class="page-title">
      <h1 tabIndex={-1}>{props.children}</h1>
      {props.aside}
    </div>
  );
}

import type { ComponentChildren } from 'preact';
import type { Resource } from '../session/resource.ts';
import { ErrorNotice, Loading } from './notices.tsx';

/** What was loaded, above it why there is nothing newer; until then that it loads. */
export function Loaded<T>(props: {
  readonly of: Resource<T>;
  readonly children: (value: T) => ComponentChildren;
}) {
  const { value, error, refresh } = props.of;
  return (
    <>
      {error !== undefined && <ErrorNotice error={error} retry={refresh} />}
      {value !== undefined && props.children(value)}
      {value === undefined && error === undefined && <Loading />}
    </>
  );
}

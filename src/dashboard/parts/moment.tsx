import { useFormat, useText } from '../session/context.tsx';

/** When something was or will be, from now; the exact time is its title. */
export function Moment({ at }: { readonly at: string | null }) {
  const format = useFormat();
  const { never } = useText().common;
  if (at === null) return <span class="faint">{never}</span>;
  return (
    <time dateTime={at} title={format.time(at)}>
      {format.ago(at, Date.now())}
    </time>
  );
}

export type Tone = 'good' | 'warn' | 'bad' | 'calm';

/** Each tone has a sign of its own, so that nobody needs to see colours. */
const signs: Readonly<Record<Tone, string>> = { good: '●', warn: '▲', bad: '■', calm: '○' };

/** A state in a word. */
export function Badge({ tone, children }: { readonly tone: Tone; readonly children: string }) {
  return (
    <span class={`badge ${tone}`}>
      <span aria-hidden="true">{signs[tone]}</span> {children}
    </span>
  );
}

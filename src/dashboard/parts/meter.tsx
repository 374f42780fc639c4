export interface Share {
  readonly value: number;
  /** Names its colour. */
  readonly tone: 'main' | 'second' | 'bad';
}

/** How much of a whole is taken, by one or several. */
export function Meter(props: {
  readonly label: string;
  /** What is read aloud in place of the share. */
  readonly valueText: string;
  readonly max: number;
  readonly shares: readonly Share[];
}) {
  const { label, valueText, max, shares } = props;
  const sum = shares.reduce((total, { value }) => total + value, 0);
  return (
    <div
      class="meter"
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={Math.max(max, sum)}
      aria-valuenow={sum}
      aria-valuetext={valueText}
    >
      {shares.map(({ value, tone }) => (
        <span
          key={tone}
          class={tone}
          style={{ width: `${max > 0 ? Math.min(100, (value / max) * 100) : 0}%` }}
        />
      ))}
    </div>
  );
}

/** How far something has come. */
export function ProgressBar(props: {
  readonly label: string;
  readonly done: number;
  /** Undefined: nobody knows. */
  readonly total: number | undefined;
}) {
  const { label, done, total } = props;
  return total === undefined || total === 0 ? (
    <progress aria-label={label} />
  ) : (
    <progress aria-label={label} max={total} value={Math.min(done, total)} />
  );
}

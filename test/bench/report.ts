/** A measured figure, one value a repetition. Figures of one report pair up by repetition. */
export interface Figure {
  readonly name: string;
  /** None for a ratio. */
  readonly unit?: string;
  readonly values: readonly number[];
  /** The promise, when there is one. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number } | undefined;
}

export interface Report {
  readonly title: string;
  /** What a reader must know to judge: sizes, counts, what was left out and why. */
  readonly notes: readonly string[];
  readonly figures: readonly Figure[];
}

/** How often each contender is measured, unless told. */
export const repetitionsDefault = 5;

/** Measures all contenders in turn, A B C A B C …: what drifts drifts for all of them. */
export async function interleave<Result>(
  repetitions: number,
  contenders: Readonly<Record<string, (repetition: number) => Promise<Result>>>,
): Promise<Map<string, Result[]>> {
  const results = new Map<string, Result[]>();
  for (const name of Object.keys(contenders)) results.set(name, []);
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const [name, measure] of Object.entries(contenders)) {
      results.get(name)?.push(await measure(repetition));
    }
  }
  return results;
}

/** One value of each result, in the order of the repetitions. */
export function pluck<Result>(
  results: readonly Result[] | undefined,
  value: (result: Result) => number,
): number[] {
  return (results ?? []).map((result) => value(result));
}

/** The quotient of each repetition: a better measure than the quotient of two medians. */
export function quotients(above: readonly number[], below: readonly number[]): number[] {
  return above.map((value, at) => value / (below[at] ?? Number.NaN));
}

/** Per repetition the best of several contenders, leaving out those without values. */
export function best(
  of: (...values: number[]) => number,
  ...series: readonly (readonly number[])[]
): number[] {
  const present = series.filter((values) => values.length > 0);
  return (present[0] ?? []).map((_, at) =>
    of(...present.map((values) => values[at] ?? Number.NaN)),
  );
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export function formatReport(report: Report): string {
  const rows = report.figures
    // Without a peer there is nothing to compare with, and the quotients are not numbers.
    .filter(({ values }) => values.length > 0 && values.every((value) => Number.isFinite(value)))
    .map((figure) => {
      const unit = figure.unit === undefined ? '' : ` ${figure.unit}`;
      const range = `${short(Math.min(...figure.values))} … ${short(Math.max(...figure.values))}`;
      return [figure.name, `${short(median(figure.values))}${unit}`, range, verdict(figure)];
    });
  const table = [['', 'median', 'min … max', 'target'], ...rows];
  const widths = [0, 1, 2].map((column) =>
    Math.max(...table.map((row) => (row[column] ?? '').length)),
  );
  const lines = table.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
  );
  const notes = report.notes.map((note) => `  ${note}`);
  return [report.title, ...notes, ...lines, ''].join('\n');
}

function verdict({ values, target }: Figure): string {
  if (target === undefined) return '';
  const value = median(values);
  if ('atMost' in target) {
    return `≤ ${target.atMost} ${value <= target.atMost ? 'met' : 'MISSED'}`;
  }
  return `≥ ${target.atLeast} ${value >= target.atLeast ? 'met' : 'MISSED'}`;
}

function short(value: number): string {
  return value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

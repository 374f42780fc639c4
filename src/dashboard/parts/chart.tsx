import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';

export interface Series {
  readonly label: string;
  /** A class of styles/parts.css whose colour the line has. */
  readonly ink: string;
  /** One for each time; null is a gap. */
  readonly values: readonly (number | null)[];
}

interface ChartProps {
  /** What the picture shows, for who cannot see it. */
  readonly summary: string;
  /** Unix seconds, rising. */
  readonly times: readonly number[];
  /** How far back it shows from the newest, in seconds; as far as there is unless told. */
  readonly spanSeconds?: number;
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
  readonly formatTime: (unixSeconds: number) => string;
}

const heightPx = 200;

/** Lines over time, with the values under the pointer in the legend. */
export function Chart(props: ChartProps) {
  const frame = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const newest = useRef(props);
  newest.current = props;
  const { times, series } = props;

  useEffect(() => {
    const target = frame.current;
    if (target === null) return;
    const draw = (): void => {
      plot.current?.destroy();
      plot.current = drawPlot(target, legend.current, newest);
    };
    draw();
    const resizing = new ResizeObserver(() => {
      plot.current?.setSize({ width: target.clientWidth, height: heightPx });
    });
    resizing.observe(target);
    // The canvas does not inherit colours.
    const recolouring = new MutationObserver(draw);
    recolouring.observe(document.documentElement, { attributeFilter: ['data-theme', 'lang'] });
    const system = matchMedia('(prefers-color-scheme: dark)');
    system.addEventListener('change', draw);
    return () => {
      resizing.disconnect();
      recolouring.disconnect();
      system.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData(dataOf(newest.current));
  }, [times, ...series.map(({ values }) => values)]);

  return (
    <div class="chart">
      <div class="legend" ref={legend}>
        {series.map(({ label, ink }) => (
          <span key={ink}>
            <span class={`ink ${ink}`} aria-hidden="true">
              ━
            </span>{' '}
            {label} <output />
          </span>
        ))}
      </div>
      <div ref={frame} role="img" aria-label={props.summary} />
    </div>
  );
}

function dataOf({ times, series }: ChartProps): uPlot.AlignedData {
  return [[...times], ...series.map(({ values }) => [...values])];
}

function drawPlot(
  target: HTMLElement,
  legend: HTMLElement | null,
  newest: { readonly current: ChartProps },
): uPlot {
  const inks = [...(legend?.querySelectorAll('.ink') ?? [])].map((one) => colourOf(one));
  const outputs = [...(legend?.querySelectorAll('output') ?? [])];
  const faint = colourOf(target);
  const axis = {
    stroke: faint,
    font: `12px ${getComputedStyle(target).fontFamily}`,
    grid: { stroke: faint, width: 0.25 },
    ticks: { show: false },
  };
  return new uPlot(
    {
      width: target.clientWidth,
      height: heightPx,
      legend: { show: false },
      cursor: { y: false, drag: { setScale: false }, points: { show: false } },
      scales: {
        x: { range: (_plot, min, max) => spanOf(min, max, newest.current.spanSeconds) },
        y: { range: (_plot, _min, max) => [0, Math.max(max, 1024) * 1.05] },
      },
      axes: [
        {
          ...axis,
          size: 28,
          space: 90,
          values: (_plot, times) => times.map(newest.current.formatTime),
        },
        {
          ...axis,
          size: 82,
          incrs: byteSteps(),
          values: (_plot, values) => values.map((value) => newest.current.format(value)),
        },
      ],
      series: [
        {},
        ...newest.current.series.map((_, at) => ({
          stroke: inks[at] ?? faint,
          width: 1.5,
          fill: withAlpha(inks[at] ?? faint),
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [
          (plot) => {
            const { idx } = plot.cursor;
            for (const [at, output] of outputs.entries()) {
              const value = typeof idx === 'number' ? plot.data[at + 1]?.[idx] : undefined;
              output.textContent =
                value === undefined || value === null ? '' : newest.current.format(value);
            }
          },
        ],
      },
    },
    dataOf(newest.current),
    target,
  );
}

function spanOf(min: number, max: number, spanSeconds: number | undefined): [number, number] {
  return [spanSeconds === undefined ? min : max - spanSeconds, max];
}

/** 1, 2, 5, 10 … 512 of each unit of 1024. */
function byteSteps(): number[] {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500];
  return [0, 1, 2, 3, 4].flatMap((power) => steps.map((step) => step * 1024 ** power));
}

function colourOf(element: Element): string {
  return getComputedStyle(element).color;
}

function withAlpha(colour: string): string {
  return colour.replace(/^rgb\(([^)]+)\)$/, 'rgba($1, 0.12)');
}

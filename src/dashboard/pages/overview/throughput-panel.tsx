import { useSignal } from '@preact/signals';
import type { History } from '../../../api/stats.ts';
import { Chart } from '../../parts/chart.tsx';
import { Choice } from '../../parts/choice.tsx';
import { Loaded } from '../../parts/loaded.tsx';
import { Empty } from '../../parts/notices.tsx';
import { Panel } from '../../parts/panel.tsx';
import { useFormat, useSession, useText } from '../../session/context.tsx';
import type { TimeScale } from '../../text/format.ts';
import { useResource } from '../../session/resource.ts';

const windows = ['live', '1h', '24h', '7d', '30d'] as const;

type Window = (typeof windows)[number];

interface Flow {
  /** Unix seconds. */
  readonly times: readonly number[];
  /** Bytes per second. */
  readonly served: readonly (number | null)[];
  readonly fetched: readonly (number | null)[];
  readonly servedBytes: number;
  readonly fetchedBytes: number;
}

/** What the live picture shows. */
const liveSeconds = 300;

/** A server that runs for less has little to show but what happens now. */
const historySeconds = 600;

const lookMs = 10_000;

/** What goes to clients and what comes from upstreams, over time. */
export function ThroughputPanel({ uptimeSeconds }: { readonly uptimeSeconds: number }) {
  const text = useText().overview;
  const chosen = useSignal<Window>(uptimeSeconds < historySeconds ? 'live' : '1h');
  return (
    <Panel
      title={text.throughput}
      aside={
        <Choice
          label={text.window}
          options={windows}
          names={text.windows}
          value={chosen.value}
          choose={(window) => {
            chosen.value = window;
          }}
        />
      }
    >
      {chosen.value === 'live' ? (
        <LiveFlow />
      ) : (
        <PastFlow key={chosen.value} window={chosen.value} />
      )}
    </Panel>
  );
}

function LiveFlow() {
  const { live } = useSession();
  const samples = live.samples.value;
  // One sample comes a second, so the rates add up to bytes.
  const flow = {
    times: samples.map(({ atMs }) => atMs / 1000),
    served: samples.map((sample) => sample.servedBytesPerSecond),
    fetched: samples.map((sample) => sample.fetchedBytesPerSecond),
    servedBytes: samples.reduce((sum, sample) => sum + sample.servedBytesPerSecond, 0),
    fetchedBytes: samples.reduce((sum, sample) => sum + sample.fetchedBytesPerSecond, 0),
  };
  return <FlowChart flow={flow} spanSeconds={liveSeconds} scale="seconds" />;
}

function PastFlow({ window }: { readonly window: Exclude<Window, 'live'> }) {
  const { api } = useSession();
  const text = useText().overview;
  const history = useResource(
    window,
    (signal) => api.get<History>('stats/history', { query: { window }, signal }),
    lookMs,
  );
  return (
    <Loaded of={history}>
      {(value) =>
        value.points.length < 2 ? (
          <Empty>{text.noHistory}</Empty>
        ) : (
          <FlowChart
            flow={flowOf(value)}
            scale={window === '7d' || window === '30d' ? 'days' : 'minutes'}
          />
        )
      }
    </Loaded>
  );
}

function FlowChart(props: {
  readonly flow: Flow;
  readonly scale: TimeScale;
  readonly spanSeconds?: number;
}) {
  const { flow, scale, spanSeconds } = props;
  const text = useText().overview;
  const format = useFormat();
  return (
    <Chart
      summary={text.throughputSummary(
        format.bytes(flow.servedBytes),
        format.bytes(flow.fetchedBytes),
      )}
      times={flow.times}
      {...(spanSeconds === undefined ? {} : { spanSeconds })}
      series={[
        { label: text.served, ink: 'ink-main', values: flow.served },
        { label: text.fetched, ink: 'ink-second', values: flow.fetched },
      ]}
      format={format.rate}
      formatTime={(seconds) => format.axisTime(seconds * 1000, scale)}
    />
  );
}

/** Where the mirror did not run there is a gap; the step that runs is divided by what there is of it. */
function flowOf({ points, stepSeconds }: History): Flow {
  const times: number[] = [];
  const served: (number | null)[] = [];
  const fetched: (number | null)[] = [];
  for (const [at, point] of points.entries()) {
    const begin = Date.parse(point.at) / 1000;
    const last = times.at(-1);
    if (last !== undefined && begin - last > 2 * stepSeconds) {
      times.push(last + stepSeconds, begin - stepSeconds);
      served.push(null, null);
      fetched.push(null, null);
    }
    const isRunning = at === points.length - 1;
    const seconds = isRunning ? Math.max(1, Date.now() / 1000 - begin) : stepSeconds;
    times.push(begin);
    served.push(point.servedBytes / Math.min(seconds, stepSeconds));
    fetched.push(point.fetchedBytes / Math.min(seconds, stepSeconds));
  }
  return {
    times,
    served,
    fetched,
    servedBytes: points.reduce((sum, { servedBytes }) => sum + servedBytes, 0),
    fetchedBytes: points.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0),
  };
}

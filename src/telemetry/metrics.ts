import {
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  Registry,
  type HistogramConfiguration,
} from 'prom-client';
import type { Event } from '../base/events.ts';
import { RunMetrics } from './run-metrics.ts';
import { outcomeName, Statistics } from './statistics.ts';
import { addSyncMetrics, type SyncRuleFigures } from './sync-metrics.ts';

/** What is read when somebody asks for the metrics. Bytes. */
export interface MetricSources {
  readonly statistics: Statistics;
  readonly store: () => Promise<{
    readonly usedBytes: number;
    readonly reservedBytes: number;
    readonly maxBytes: number;
    readonly freeBytes: number;
    readonly blobs: number;
  }>;
  /** What came of prewarming, over restarts. */
  readonly prewarmed: () => {
    readonly prewarmedBytes: number;
    readonly servedBytes: number;
    readonly evictedBytes: number;
  };
  readonly fills: () => readonly { readonly connections: number; readonly clients: number }[];
  readonly upstreams: () => readonly {
    readonly name: string;
    readonly isUp: boolean;
    readonly quotas: readonly {
      readonly account: string;
      readonly limit: number | undefined;
      readonly remaining: number | undefined;
      readonly pulls: number;
      readonly checks: number;
    }[];
    readonly pauses: readonly { readonly scope: string; readonly secondsLeft: number }[];
  }[];
  readonly syncRules: () => readonly SyncRuleFigures[];
}

/** From a manifest out of memory (1 ms) to a large layer over a slow line (minutes). Seconds. */
const secondsBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
];

/** Events that alerts are made of. */
const alarming: readonly Event['kind'][] = [
  'bug',
  'config-refused',
  'content-corrupt',
  'names-failed',
  'store-failed',
];

type Children = Map<string, { observe(value: number): void }>;

/**
 * Prometheus metrics, `entrepot_…`. Counters are taken from the statistics when they are asked for;
 * only durations are noted as they happen. Labels are bounded: upstreams are configured, the rest are
 * closed lists; no repository, tag or address is a label.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #sources: MetricSources;
  readonly #requestSeconds: Histogram<'kind' | 'outcome'>;
  readonly #upstreamSeconds: Histogram<'upstream' | 'kind'>;
  readonly #fillSeconds: Histogram<'result'>;
  readonly #children: Children = new Map();
  readonly #events: Counter<'event'>;
  readonly #runs: RunMetrics;

  constructor(sources: MetricSources) {
    this.#sources = sources;
    const histogram = <T extends string>(
      about: Omit<HistogramConfiguration<T>, 'buckets' | 'registers'>,
    ): Histogram<T> =>
      new Histogram({ ...about, buckets: secondsBuckets, registers: [this.#registry] });
    this.#requestSeconds = histogram({
      name: 'entrepot_request_duration_seconds',
      help: 'From a request of a client to the end of its answer',
      labelNames: ['kind', 'outcome'],
    });
    this.#upstreamSeconds = histogram({
      name: 'entrepot_upstream_response_seconds',
      help: 'From a request to an upstream to the headers of its answer',
      labelNames: ['upstream', 'kind'],
    });
    this.#fillSeconds = histogram({
      name: 'entrepot_fill_duration_seconds',
      help: 'Transfers of blobs from upstreams',
      labelNames: ['result'],
    });
    this.#events = new Counter({
      name: 'entrepot_events_total',
      help: 'What happened, by kind; rare things have no metric of their own',
      labelNames: ['event'],
      registers: [this.#registry],
    });
    // An alert on what has never happened needs a number to compare with.
    for (const event of alarming) this.#events.inc({ event }, 0);
    this.#runs = new RunMetrics(this.#registry);
    this.#addCounters();
    this.#addAccounts();
    this.#addGauges();
    addSyncMetrics(sources.syncRules, {
      gauge: (...about) => this.#gauge(...about),
      counter: (...about) => this.#counter(...about),
    });
    collectDefaultMetrics({ register: this.#registry, prefix: 'entrepot_' });
  }

  readonly observe = (event: Event): void => {
    // oxlint-disable-next-line typescript/switch-exhaustiveness-check -- the rest is counted alike
    switch (event.kind) {
      case 'request':
        this.#note(
          `r ${event.what} ${outcomeName(event) ?? 'other'}`,
          () =>
            this.#requestSeconds.labels({
              kind: event.what,
              outcome: outcomeName(event) ?? 'other',
            }),
          event.durationMs,
        );
        return;
      case 'upstream-answered':
        this.#note(
          `u ${event.registry} ${event.what}`,
          () => this.#upstreamSeconds.labels({ upstream: event.registry, kind: event.what }),
          event.durationMs,
        );
        return;
      case 'fill-committed':
      case 'fill-failed':
        this.#note(
          event.kind,
          () =>
            this.#fillSeconds.labels({ result: event.kind === 'fill-failed' ? 'failed' : 'ok' }),
          event.durationMs,
        );
        return;
      case 'run-changed':
      case 'run-ended':
        this.#runs.observe(event);
        return;
      default:
        this.#events.inc({ event: event.kind });
    }
  };

  /** The text format of Prometheus, 0.0.4. */
  render(): Promise<string> {
    return this.#registry.metrics();
  }

  /** The objects for a set of labels are kept: finding them costs more than counting. */
  #note(key: string, find: () => { observe(value: number): void }, durationMs: number): void {
    let child = this.#children.get(key);
    if (child === undefined) {
      child = find();
      this.#children.set(key, child);
    }
    child.observe(durationMs / 1000);
  }

  #addCounters(): void {
    const { statistics, prewarmed } = this.#sources;
    this.#counter(
      'entrepot_requests_total',
      'Requests of clients',
      ['upstream', 'kind', 'outcome'],
      (counter) => {
        for (const [key, outcomes] of statistics.byUpstream) {
          const { upstream, kind } = Statistics.splitKey(key);
          for (const [outcome, value] of Object.entries(outcomes)) {
            counter.inc({ upstream, kind, outcome }, value as number);
          }
        }
      },
    );
    const plain: [name: string, help: string, value: () => number][] = [
      [
        'entrepot_served_bytes_total',
        'Bytes of content sent to clients',
        () => statistics.servedBytes,
      ],
      [
        'entrepot_fetched_bytes_total',
        'Bytes of blobs read from upstreams',
        () => statistics.fetchedBytes,
      ],
      ['entrepot_manifests_served_total', 'Manifests given to clients', () => statistics.manifests],
      [
        'entrepot_upstream_pulls_total',
        'GETs of manifests at upstreams, which count as pulls at Docker Hub',
        () => statistics.upstreamPulls,
      ],
      ['entrepot_evicted_blobs_total', 'Blobs removed to make room', () => statistics.evictedBlobs],
      ['entrepot_evicted_bytes_total', 'Bytes removed to make room', () => statistics.evictedBytes],
      [
        'entrepot_corrupt_blobs_total',
        'Stored files that were found wrong and quarantined',
        () => statistics.corruptBlobs,
      ],
      [
        'entrepot_prewarmed_bytes_total',
        'Bytes of blobs that prewarming fetched',
        () => prewarmed().prewarmedBytes,
      ],
      [
        'entrepot_prewarmed_served_bytes_total',
        'Bytes of those that a client has asked for since',
        () => prewarmed().servedBytes,
      ],
      [
        'entrepot_prewarmed_evicted_bytes_total',
        'Bytes of those that went before any client asked for them',
        () => prewarmed().evictedBytes,
      ],
    ];
    for (const [name, help, value] of plain) {
      this.#counter(name, help, [], (counter) => counter.inc(value()));
    }
    this.#counter(
      'entrepot_upstream_requests_total',
      'Requests to upstreams',
      ['upstream'],
      (counter) => {
        for (const [upstream, { requests }] of statistics.upstreams)
          counter.inc({ upstream }, requests);
      },
    );
    this.#counter(
      'entrepot_upstream_errors_total',
      'Requests without an answer, or with 429 or 5xx',
      ['upstream'],
      (counter) => {
        for (const [upstream, { errors }] of statistics.upstreams)
          counter.inc({ upstream }, errors);
      },
    );
  }

  #addAccounts(): void {
    const counted = [
      ['pulls', 'GETs of manifests by account, which count as pulls at Docker Hub'],
      ['checks', 'HEADs of manifests by account, which do not'],
    ] as const;
    for (const [what, help] of counted) {
      const name = `entrepot_upstream_account_${what}_total`;
      this.#counter(name, help, ['upstream', 'account'], (counter) => {
        for (const { name: upstream, quotas } of this.#sources.upstreams()) {
          for (const quota of quotas)
            counter.inc({ upstream, account: quota.account }, quota[what]);
        }
      });
    }
  }

  #addGauges(): void {
    const { fills, upstreams, store } = this.#sources;
    this.#gauge('entrepot_fills', 'Transfers of blobs under way', [], (gauge) =>
      gauge.set(fills().length),
    );
    this.#gauge('entrepot_fill_connections', 'Connections that bring blobs', [], (gauge) =>
      gauge.set(fills().reduce((sum, { connections }) => sum + connections, 0)),
    );
    this.#gauge(
      'entrepot_upstream_up',
      '1 when the upstream answers, 0 when it is left alone',
      ['upstream'],
      (gauge) => {
        for (const { name, isUp } of upstreams()) gauge.set({ upstream: name }, isUp ? 1 : 0);
      },
    );
    for (const what of ['limit', 'remaining'] as const) {
      this.#gauge(
        `entrepot_upstream_quota_${what}`,
        `Pulls: what the upstream said last (${what})`,
        ['upstream', 'account'],
        (gauge) => {
          for (const { name, quotas } of upstreams()) {
            for (const quota of quotas) {
              const value = quota[what];
              if (value !== undefined) gauge.set({ upstream: name, account: quota.account }, value);
            }
          }
        },
      );
    }
    this.#gauge(
      'entrepot_upstream_paused_seconds',
      'How long the upstream is still left alone after a 429, and what of it',
      ['upstream', 'scope'],
      (gauge) => {
        for (const { name, pauses } of upstreams()) {
          for (const { scope, secondsLeft } of pauses)
            gauge.set({ upstream: name, scope }, secondsLeft);
        }
      },
    );
    const sizes: [
      name: string,
      help: string,
      key: 'usedBytes' | 'reservedBytes' | 'maxBytes' | 'freeBytes' | 'blobs',
    ][] = [
      ['entrepot_store_used_bytes', 'Bytes of stored content', 'usedBytes'],
      ['entrepot_store_reserved_bytes', 'Bytes kept free for what is arriving', 'reservedBytes'],
      ['entrepot_store_max_bytes', 'The budget; 0: none', 'maxBytes'],
      ['entrepot_disk_free_bytes', 'Free on the file system', 'freeBytes'],
      ['entrepot_store_blobs', 'Stored blobs', 'blobs'],
    ];
    for (const [name, help, key] of sizes) {
      this.#gauge(name, help, [], async (gauge) => {
        // A disk that does not answer has no size.
        const usage = await store().catch(() => undefined);
        if (usage !== undefined) gauge.set(usage[key]);
      });
    }
  }

  #counter(
    name: string,
    help: string,
    labelNames: string[],
    fill: (counter: Counter) => void,
  ): void {
    const counter = new Counter({
      name,
      help,
      labelNames,
      registers: [],
      collect() {
        this.reset();
        fill(this);
      },
    });
    this.#registry.registerMetric(counter);
  }

  #gauge(
    name: string,
    help: string,
    labelNames: string[],
    fill: (gauge: Gauge) => void | Promise<void>,
  ): void {
    const gauge = new Gauge({
      name,
      help,
      labelNames,
      registers: [],
      async collect() {
        this.reset();
        await fill(this);
      },
    });
    this.#registry.registerMetric(gauge);
  }
}

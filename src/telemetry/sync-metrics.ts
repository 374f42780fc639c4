import type { Counter, Gauge } from 'prom-client';

/** What is shown of a rule that copies from a primary; null where it is not known. */
export interface SyncRuleFigures {
  readonly name: string;
  readonly lagSeconds: number | null;
  readonly lagChanges: number | null;
  readonly undelivered: readonly unknown[];
  /** ISO 8601. */
  readonly lastSuccessAt: string | null;
  readonly copied: {
    readonly images: number;
    readonly fetchedBytes: number;
    readonly savedBytes: number;
  };
}

type Add<Metric> = (
  name: string,
  help: string,
  labelNames: string[],
  fill: (metric: Metric) => void,
) => void;

/** How far the rules that copy from a primary are behind, and what they brought. */
export function addSyncMetrics(
  rules: () => readonly SyncRuleFigures[],
  add: { readonly gauge: Add<Gauge>; readonly counter: Add<Counter> },
): void {
  const figures: [name: string, help: string, of: (rule: SyncRuleFigures) => number | null][] = [
    [
      'entrepot_sync_lag_seconds',
      'For how long something of the primary has been missing here',
      ({ lagSeconds }) => lagSeconds,
    ],
    [
      'entrepot_sync_lag_changes',
      'Changes of the primary that are missing here',
      ({ lagChanges }) => lagChanges,
    ],
    [
      'entrepot_sync_undelivered',
      'Images that failed and are tried again',
      ({ undelivered }) => undelivered.length,
    ],
    [
      'entrepot_sync_last_success_timestamp_seconds',
      'When a run of the rule last succeeded',
      ({ lastSuccessAt }) => (lastSuccessAt === null ? null : Date.parse(lastSuccessAt) / 1000),
    ],
  ];
  for (const [name, help, of] of figures) {
    add.gauge(name, help, ['rule'], (gauge) => {
      for (const rule of rules()) {
        const value = of(rule);
        if (value !== null) gauge.set({ rule: rule.name }, value);
      }
    });
  }
  for (const [what, key] of [
    ['fetched', 'fetchedBytes'],
    ['saved', 'savedBytes'],
  ] as const) {
    add.counter(
      `entrepot_sync_${what}_bytes_total`,
      `Bytes of copied images: what crossed the line, and what was here already (${what})`,
      ['rule'],
      (counter) => {
        for (const { name, copied } of rules()) {
          counter.inc({ rule: name }, copied[key]);
        }
      },
    );
  }
}

/** What happens to the runs of jobs. */
export interface RunEvent {
  readonly kind: 'run-changed';
  readonly id: string;
  readonly job: string;
  readonly state: string;
  /** Why it waits. */
  readonly reason: string | undefined;
  /** Objects that failed so far. */
  readonly errors: number;
}

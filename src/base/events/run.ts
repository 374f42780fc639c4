/** What happens to the runs of jobs. */
export type RunEvent =
  | {
      /** Its state is another, or what it waits for. */
      readonly kind: 'run-changed';
      readonly id: string;
      readonly job: string;
      readonly trigger: string;
      readonly state: string;
      /** Why it waits. */
      readonly reason: string | undefined;
      /** Objects that failed so far. */
      readonly errors: number;
    }
  | {
      readonly kind: 'run-ended';
      readonly id: string;
      readonly job: string;
      readonly state: 'succeeded' | 'partial' | 'failed' | 'cancelled';
      readonly isDryRun: boolean;
      readonly images: number;
      readonly blobs: number;
      /** Of what is there now, fetched or not. */
      readonly sizeBytes: number;
      readonly errors: number;
      /** From its start; 0 when it never began. */
      readonly durationMs: number;
    };

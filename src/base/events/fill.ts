import type { Priority } from '../limiter.ts';

/** What happens to a download from upstream. */
export type FillEvent =
  | {
      readonly kind: 'fill-started';
      readonly digest: string;
      readonly repository: string;
      /** Who asked first. */
      readonly reason: Priority;
    }
  | {
      readonly kind: 'fill-committed';
      readonly digest: string;
      readonly repository: string;
      readonly sizeBytes: number;
      readonly fetchedBytes: number;
      readonly connections: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'fill-failed';
      readonly digest: string;
      readonly repository: string;
      readonly code: string;
      readonly message: string;
      readonly fetchedBytes: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'fill-resumed';
      readonly digest: string;
      readonly repository: string;
      readonly offset: number;
      readonly reason: string;
      readonly attempt: number;
    }
  | {
      readonly kind: 'fill-uncached';
      readonly digest: string;
      readonly repository: string;
      readonly message: string;
    };

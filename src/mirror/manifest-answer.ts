import type { Outcome } from '../base/events.ts';
import type { Descriptor } from '../oci/descriptor.ts';

/** What is answered about a manifest. */
export interface ManifestAnswer {
  readonly descriptor: Descriptor;
  readonly outcome: Outcome;
  /** Why this copy may be old; for the Warning header. */
  readonly warning?: string | undefined;
  /** Since upstream last confirmed it; with a warning. */
  readonly ageSeconds?: number | undefined;
  /** The exact body; whoever asked for a description may get it all the same. */
  readonly bytes?: Buffer | undefined;
}

export interface ManifestWithBytes extends ManifestAnswer {
  readonly bytes: Buffer;
}

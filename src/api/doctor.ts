import { z } from 'zod';

/** `GET /api/v1/doctor`: what the mirror depends on, looked at now. */
export const diagnosis = z.object({
  /** Nothing failed; there may be warnings. */
  isWell: z.boolean(),
  findings: z.array(
    z.object({
      check: z.string(),
      subject: z.string(),
      state: z.enum(['ok', 'warning', 'failed', 'skipped']),
      seen: z.string(),
      mend: z.string().optional(),
    }),
  ),
});

export type Diagnosis = z.output<typeof diagnosis>;

import { z } from 'zod';

/** What makes a client pull through the mirror. */
export const clientConfig = z.object({
  mirror: z.string().describe('the address of the mirror that the files name'),
  files: z.array(
    z.object({
      path: z.string(),
      text: z.string(),
      afterwards: z.string().describe('what to do then'),
    }),
  ),
});

export type ClientConfig = z.output<typeof clientConfig>;

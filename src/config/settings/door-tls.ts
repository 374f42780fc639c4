import { z } from 'zod';
import { text } from '../scalars.ts';

/** Files in PEM; with `clientCa`, clients must show a certificate that it signed. */
export const doorTls = z.strictObject({
  cert: text,
  key: text,
  clientCa: text.optional(),
});

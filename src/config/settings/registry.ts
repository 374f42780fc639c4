import { z } from 'zod';
import { listen, text, timeout } from '../scalars.ts';

const registryTls = z.strictObject({
  cert: text,
  key: text,
  clientCa: text.optional(),
});

/** The door for clients. */
export const registry = z
  .strictObject({
    listen: listen.prefault('0.0.0.0:5000'),
    tls: registryTls.optional(),
    shutdownTimeout: timeout.prefault('10s'),
  })
  .transform(({ shutdownTimeout, ...rest }) => ({ ...rest, shutdownTimeoutMs: shutdownTimeout }));
